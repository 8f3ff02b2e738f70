"""What tasks with several losses share: a trunk with a head for each, and losses of what a head says."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Losses = Mapping[str, Callable[[Any, Any], Tensor]]


class Trunk(nn.Module):
    """Layers with ReLUs that all tasks share, and a linear head for each.

    >>> model = Trunk((4, 8, 8), {"a": 1, "b": 3})
    >>> {name: tuple(x.shape) for name, x in model(torch.zeros(2, 4)).items()}
    {'a': (2, 1), 'b': (2, 3)}
    """

    def __init__(self, sizes: tuple[int, ...], outputs: Mapping[str, int]) -> None:
        super().__init__()
        layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({name: nn.Linear(sizes[-1], n) for name, n in outputs.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """What each head says, by task."""
        h = self.trunk(x)
        return {name: head(h) for name, head in self.heads.items()}


def squared(output: dict[str, Tensor], batch: Any, name: str, column: int) -> Tensor:
    """Mean squared error of a head against a column of the targets."""
    loss: Tensor = (output[name][:, 0] - batch[1][:, column]).square().mean()
    return loss


def regressions(names: tuple[str, ...]) -> Losses:
    """The squared error of each head, in the order of the columns."""
    return {name: partial(squared, name=name, column=i) for i, name in enumerate(names)}


def combined(output: Any, batch: Any, losses: Losses, weight: float = 1.0) -> Tensor:
    """The sum of losses, times a number."""
    return weight * torch.stack([loss(output, batch) for loss in losses.values()]).sum()
