"""What a client's rule remembers, as one vector: so that clients may begin with what all of them remembered.

The vector holds the state tensors of every parameter of an optimizer, group by group, in the order of
:class:`~steepest.core.layout.Layout`. Numbers that a rule keeps beside its tensors begin anew in every round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steepest.core.layout import layout_of
from steepest.core.trace import flatten
from steepest.strategy.value import Strategy


@dataclass
class Moments:
    """What clients begin with.

    Args:
        values: The vector; None: nothing, as a fresh rule has it.
        steps: How many steps it is of, for rules that correct a bias.
    """

    values: Tensor | None = None
    steps: int = 0


def parts(optimizer: Any) -> Iterator[tuple[nn.Parameter, tuple[str, ...], list[Tensor]]]:
    """Each parameter, the names of its state tensors, and what they are at first."""
    for group in optimizer.param_groups:
        chain = optimizer.chain(group)
        names = layout_of(chain).tensors
        for p in group["params"]:
            yield p, names, flatten(chain.init(p.detach()))


def length(strategy: Strategy, model: nn.Module) -> int:
    """How many numbers a strategy remembers for a model."""
    optimizer: Any = strategy.optimizer(model, steps=1)
    return sum(t.numel() for _, _, fresh in parts(optimizer) for t in fresh)


@torch.no_grad()
def give(optimizer: Any, moments: Moments) -> None:
    """Let an optimizer that has not stepped begin with moments."""
    if moments.values is None:
        return
    at = 0
    for p, names, fresh in parts(optimizer):
        for name, t in zip(names, fresh, strict=True):
            own = moments.values[at : at + t.numel()].to(t.dtype).view(t.shape).clone()
            at += t.numel()
            optimizer.state[p][name] = own
        optimizer.state[p]["step"] = moments.steps


@torch.no_grad()
def taken(optimizer: Any) -> Tensor:
    """What an optimizer remembers, in float64."""
    found = [
        optimizer.state[p].get(name, t).detach().double().reshape(-1)
        for p, names, fresh in parts(optimizer)
        for name, t in zip(names, fresh, strict=True)
    ]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)
