"""The handwritten digits of scikit-learn as tensors: 1797 grey images of 8 x 8 pixels in ten classes."""

from __future__ import annotations

import functools
from typing import TypeAlias

import torch
from torch import Tensor

from steepest.tasks.registry import needs
from steepest.tasks.splits import split_of

Pair: TypeAlias = tuple[Tensor, Tensor]
SOURCE = "Alpaydin and Kaynak 1998, UCI optical digits (test part), as shipped with scikit-learn"


@functools.cache
def digits() -> tuple[Pair, Pair, Pair]:
    """Train, validation and test: pixels in [0, 1] of shape (n, 64), and labels. Row ``i`` is split by ``digits/i``."""
    bunch = needs("sklearn.datasets", "scikit-learn", "tasks").load_digits()
    x = torch.from_numpy(bunch.data).to(torch.float32) / 16
    y = torch.from_numpy(bunch.target).to(torch.int64)
    return split_rows("digits", x, y)


def split_rows(name: str, x: Tensor, y: Tensor) -> tuple[Pair, Pair, Pair]:
    """Rows of ``x`` and ``y`` by the hash split of ``name/row``: about 60 % train, 20 % validation, 20 % test."""
    of = [split_of(f"{name}/{i}") for i in range(len(x))]
    train, validation, test = (
        torch.tensor([i for i, s in enumerate(of) if s == split]) for split in ("train", "validation", "test")
    )
    return (x[train], y[train]), (x[validation], y[validation]), (x[test], y[test])
