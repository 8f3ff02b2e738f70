"""The handwritten digits of scikit-learn as tensors: 1797 grey images of 8 x 8 pixels in ten classes."""

from __future__ import annotations

import functools

import torch

from steepest.tasks.registry import guest
from steepest.tasks.splits import Pair, split_rows

SOURCE = "Alpaydin and Kaynak 1998, UCI optical digits (test part), as shipped with scikit-learn"


@functools.cache
def digits_in_order() -> Pair:
    """Pixels in [0, 1] of shape (1797, 64), and labels."""
    with guest("scikit-learn", extra="tasks"):
        from sklearn.datasets import load_digits
    bunch = load_digits()
    x = torch.from_numpy(bunch.data).to(torch.float32) / 16
    return x, torch.from_numpy(bunch.target).to(torch.int64)


@functools.cache
def digits() -> tuple[Pair, Pair, Pair]:
    """Train, validation and test of :func:`digits_in_order`: row ``i`` is split by ``digits/i``."""
    return split_rows("digits", *digits_in_order())
