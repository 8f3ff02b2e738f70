"""The server's step: a rule of its own, which sees minus the mean update as its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steepest.core.layout import layout_of
from steepest.core.rule import Rule
from steepest.federated.method import Method
from steepest.federated.vectors import Vectors

LONG_AGO = 1_000_000
"""A step count at which no bias is corrected any more: 1 - 0.999 ** LONG_AGO is 1."""


class Server:
    """The global model and what the server remembers.

    Args:
        model: Trained parameters are stepped by the method's server rule; buffers are set.
        method: Whose ``server`` is the rule.
        rounds: Length of the federation, for schedules of the rule.
    """

    def __init__(self, model: nn.Module, method: Method, rounds: int) -> None:
        self.model = model
        self.vectors = Vectors(model)
        self.optimizer: Any = method.server.optimizer(model, steps=rounds)
        if method.adaptive == "paper":
            started(self.optimizer)
        self.own = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.buffers = dict(model.named_buffers())

    def weights(self) -> Tensor:
        """The global weights, in float64."""
        return self.vectors.flat(self.model).double()

    def step(self, update: Tensor) -> None:
        """Step along an update ``(D,)``."""
        for name, part in self.vectors.views(update).items():
            self.own[name].grad = -part.to(self.own[name].dtype)
        self.optimizer.step(loss=0.0)
        for p in self.own.values():
            p.grad = None

    @torch.no_grad()
    def receive(self, buffers: Mapping[str, Tensor]) -> None:
        """Take new buffers."""
        for name, b in buffers.items():
            self.buffers[name].copy_(b)


def started(optimizer: Any) -> None:
    r"""Let rules with a second moment start as in Reddi et al. 2020: :math:`v_0 = \epsilon^2`, and no bias corrected.

    This is for every link that has an ``eps`` and a state called ``v`` (Adam, Yogi and their kin); Adagrad's sum ``G``
    starts there too, unless it was given a start.
    """
    for group in optimizer.param_groups:
        chain = optimizer.chain(group)
        plan = layout_of(chain)
        for p in group["params"]:
            fresh = chain.init(p.detach())
            state: dict[str, Any] = {}
            at = 0
            for link, own in zip(chain.links, fresh, strict=True):
                names = plan.tensors[at : at + len(own)]
                at += len(own)
                for field, name, tensor in zip(own._fields, names, own, strict=True):
                    if _second(link, field, tensor):
                        state[name] = tensor.clamp(min=float(link.eps) ** 2)
                        if field == "v":
                            state["step"] = LONG_AGO
            if state:
                whole = dict(zip(plan.tensors, (t for own in fresh for t in own), strict=True))
                optimizer.state[p].update({**whole, **state})


def _second(link: Rule, field: str, tensor: Tensor) -> bool:
    """Whether a state is a second moment that starts at nothing much."""
    if not hasattr(link, "eps") or field not in ("v", "G"):
        return False
    return field == "v" or not tensor.any()
