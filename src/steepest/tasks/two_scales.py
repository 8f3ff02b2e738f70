"""Two regressions of which one is measured in larger units: losses of 1 to 1000."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from steepest.tasks.randomness import generator
from steepest.tasks.registry import builtin
from steepest.tasks.several import Trunk, combined, regressions
from steepest.tasks.splits import Pair
from steepest.tasks.task import Task, TaskError

NAMES = ("small", "large")
INPUTS = 8


def samples(split: str, n: int, ratio: float) -> Pair:
    """Inputs, and two targets of which the squares are as 1 to ``ratio``; both of variance 1 but for that."""
    g = generator("two-scales", "teacher")
    w = torch.randn(4, INPUTS, generator=g) / INPUTS**0.5
    g = generator("two-scales", split)
    x = torch.randn(n, INPUTS, generator=g)
    a, b, c, d = (x @ w.mT / w.norm(dim=1)).unbind(1)
    small = torch.sin(2 * a) + a * b
    large = torch.tanh(2 * c) * d + torch.cos(2 * a)
    y = torch.stack([small / 1.22, large / 0.94], 1) + 0.1 * torch.randn(n, 2, generator=g)
    return x, y * torch.tensor([1.0, ratio**0.5])


def unexplained(output: dict[str, Tensor], batch: Any, ratio: float) -> Tensor:
    """The mean over both of the squared error in units of the target: 1 for a constant answer, 0.01 is the noise."""
    losses = [loss(output, batch) for loss in regressions(NAMES).values()]
    return (losses[0] + losses[1] / ratio) / 2


@builtin("two-scales")
def two_scales(ratio: float = 1000) -> Task:
    """Two regressions from one trunk, in units that make their losses as 1 to 1000; the loss is their sum.

    What chooses is the error of both in their own units, so that whoever leaves the small one out has half of it wrong.

    Args:
        ratio: Of the losses, > 0.

    Reason: losses of different units: the sum trains the large one alone.
    Source: made for the purpose; scales as in the toy problems of Navon et al. 2022, arXiv:2202.01017.
    """
    if not ratio > 0:
        raise TaskError(f"two-scales needs ratio > 0; given ratio={ratio}.")
    losses = regressions(NAMES)
    return Task(
        name="two-scales",
        model=partial(Trunk, (INPUTS, 32, 32), dict.fromkeys(NAMES, 1)),
        loss=partial(combined, losses=losses),
        losses=losses,
        train=samples("train", 1000, ratio),
        validation=samples("validation", 400, ratio),
        test=samples("test", 400, ratio),
        metrics={**losses, "unexplained": partial(unexplained, ratio=ratio)},
        metric="unexplained",
        batch_size=64,
        steps=400,
        eval_every=50,
        description="Two regressions from one trunk 8-32-32, their losses as 1 to 1000",
        source="made for the purpose",
    )
