"""Mime: clients step as one big optimizer would, with its statistics and its gradient."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.errors import FederationError
from steepest.federated.local import Found
from steepest.federated.method import Method, Round, Weighting, method


@method
class Mime(Method):
    r"""Clients use the server's statistics :math:`m, v`, which stay as they are during a round, and its gradient.

    .. math::
        c = \frac{1}{|S|} \sum_{i \in S} \nabla f_i(x), \qquad
        y \leftarrow y - \eta\,U(\nabla f_i(y; \xi) - \nabla f_i(x; \xi) + c), \qquad
        x \leftarrow \frac{1}{|S|} \sum_{i \in S} y_i

    .. math::
        U(g) = (1 - \beta)\,g + \beta m, \qquad U(g) = \frac{(1 - \beta)\,g + \beta m}{\sqrt v + \epsilon}, \qquad
        U(g) = \frac{g}{\sqrt v + \epsilon}

    for ``rule="momentum"``, ``"adam"`` and ``"adagrad"``; :math:`U(g) = g` for ``"sgd"``. After the round
    :math:`m \leftarrow \beta m + (1 - \beta)\,c`, and :math:`v \leftarrow \beta_2 v + (1 - \beta_2)\,c^2` (adam) or
    :math:`v + c^2` (adagrad). :math:`\nabla f_i(x)` is over all rows of a client, :math:`\xi` is a batch.

    Args:
        rule: What the optimizer would be.
        beta: :math:`\beta`, in [0, 1).
        beta2: :math:`\beta_2`, in [0, 1).
        eps: :math:`\epsilon`, in units of a gradient.

    Memory: a vector or two at the server, none at clients. Two gradients a step and one over all rows a round.
    Identity: one step on all rows makes it the rule itself, on the mean of the clients' losses.
    Differs from: the paper where :math:`v` begins: at the first :math:`c^2`, not at 0, which would make the first
    step of adam and adagrad as long as :math:`1/\epsilon` says.
    Source: Karimireddy et al. 2020, arXiv:2008.03606, Algorithm 1.

    Example:
        >>> Mime(rule="adam", beta2=0.999)
        mime(rule='adam', beta2=0.999)
    """

    rule: Literal["sgd", "momentum", "adam", "adagrad"] = "momentum"
    beta: float = hyper(0.9, "[0, 1)")
    beta2: float = hyper(0.99, "[0, 1)")
    eps: float = hyper(1e-3, "(0, inf)")
    weighting: Weighting = "equal"

    vectors: ClassVar[tuple[str, ...]] = ("m", "v")
    plain_sgd: ClassVar[bool] = True
    bare: ClassVar[bool] = True
    extra: ClassVar[int] = 1
    corrected: ClassVar[bool] = True
    """Whether what a client's gradient has of its own is subtracted."""

    def __post_init__(self) -> None:
        rules = {"sgd": 0, "momentum": 1, "adam": 2, "adagrad": 1}
        if self.rule not in rules:
            raise FederationError(f"{self.name}: rule is one of {', '.join(rules)}; given {self.rule!r}.")
        object.__setattr__(self, "extra_down", rules[self.rule] + self.corrected)
        super().__post_init__()

    def local(self, round: Round) -> tuple[Tensor, Found]:
        x, K = round.w, round.work.steps
        c = round.mean(round.gradients_at(x))
        m, v = round.vectors["m"], round.vectors["v"]
        v = v if bool(v.any()) else c.square()
        y = x.expand(len(K), -1).clone()
        losses = torch.zeros(len(K), dtype=torch.float64)
        for step in range(int(K.max())):
            loss, g = round.gradients(step, y)
            if self.corrected:
                g = g - round.gradients(step, x)[1] + c
            y = torch.where((step < K)[:, None], y - round.lr * self.direction(g, m, v), y)
            losses += loss
        if self.rule in ("momentum", "adam"):
            round.vectors["m"] = self.beta * m + (1 - self.beta) * c
        if self.rule in ("adam", "adagrad"):
            own, new = (self.beta2, 1 - self.beta2) if self.rule == "adam" else (1.0, 1.0)
            round.vectors["v"] = own * v + new * c.square()
        return x, Found(y, {}, K, losses / K.clamp(min=1))

    def direction(self, g: Tensor, m: Tensor, v: Tensor) -> Tensor:
        """:math:`U(g)`."""
        if self.rule in ("momentum", "adam"):
            g = (1 - self.beta) * g + self.beta * m
        return g / (v.sqrt() + self.eps) if self.rule in ("adam", "adagrad") else g


@method
class MimeLite(Mime):
    r"""Mime with the clients' own gradients: :math:`y \leftarrow y - \eta\,U(\nabla f_i(y; \xi))`.

    The statistics are those of Mime. One gradient a step less; clients drift as in FedAvg.

    Identity: with ``rule="sgd"`` it is FedAvg with equal weights.
    Source: Karimireddy et al. 2020, arXiv:2008.03606, Algorithm 1.

    Example:
        >>> MimeLite()
        mimelite
    """

    corrected: ClassVar[bool] = False
