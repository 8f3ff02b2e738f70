"""Two handwritten digits on top of each other: which is on the left, which is on the right."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from steepest.tasks.digits import SOURCE, digits
from steepest.tasks.randomness import generator
from steepest.tasks.registry import builtin
from steepest.tasks.several import Trunk, combined
from steepest.tasks.splits import Pair
from steepest.tasks.task import Task

SIDES = ("left", "right")
SHIFT = 3
"""Pixels between the two, of 8; in MultiMNIST 8 of 28, which is nearly as much."""


def overlaid(split: str, source: Pair, copies: int) -> Pair:
    """Each digit at the upper left with a random other at the lower right, the brighter pixel of both."""
    x, y = source
    g = generator("digits-overlay", split)
    size = 8 + SHIFT
    images, labels = [], []
    for _ in range(copies):
        other = torch.randperm(len(y), generator=g)
        left = torch.zeros(len(y), size, size)
        right = torch.zeros(len(y), size, size)
        left[:, :8, :8] = x.view(-1, 8, 8)
        right[:, SHIFT:, SHIFT:] = x[other].view(-1, 8, 8)
        images.append(torch.maximum(left, right).flatten(1))
        labels.append(torch.stack([y, y[other]], 1))
    return torch.cat(images), torch.cat(labels)


def side_loss(output: dict[str, Tensor], batch: Any, side: int) -> Tensor:
    """Cross-entropy of the digit on one side."""
    return F.cross_entropy(output[SIDES[side]], batch[1][:, side])


def side_error(output: dict[str, Tensor], batch: Any, side: int) -> Tensor:
    """The share of digits on one side that are taken for another."""
    missed: Tensor = output[SIDES[side]].argmax(1) != batch[1][:, side]
    return missed.float().mean()


@builtin("digits-overlay")
def digits_overlay() -> Task:
    """Two digits on top of each other, one shifted to the lower right; both are to be read from one trunk.

    Each training digit lies below one other and above one other; those of validation and test are never seen.

    Reason: two tasks that are alike and compete, as in MultiMNIST, in seconds.
    Source: Sener and Koltun 2018, arXiv:1810.04650, section 5.1, after Sabour, Frosst and Hinton 2017; digits as
    shipped with scikit-learn.
    """
    train, validation, test = digits()
    losses = {side: partial(side_loss, side=i) for i, side in enumerate(SIDES)}
    return Task(
        name="digits-overlay",
        model=partial(Trunk, ((8 + SHIFT) ** 2, 64, 64), dict.fromkeys(SIDES, 10)),
        loss=partial(combined, losses=losses),
        losses=losses,
        train=overlaid("train", train, 2),
        validation=overlaid("validation", validation, 1),
        test=overlaid("test", test, 1),
        metrics={**losses, **{f"{side}_error": partial(side_error, side=i) for i, side in enumerate(SIDES)}},
        batch_size=64,
        steps=600,
        eval_every=100,
        description="Two digits on top of each other, 11 x 11 pixels, trunk 121-64-64",
        source=SOURCE,
    )
