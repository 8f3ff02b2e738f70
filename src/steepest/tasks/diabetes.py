"""The diabetes table of scikit-learn as tensors: 442 patients, 10 measurements, and how the disease went on."""

from __future__ import annotations

import functools

import torch

from steepest.tasks.registry import guest
from steepest.tasks.splits import Pair, split_rows, standardised

SOURCE = "Efron, Hastie, Johnstone and Tibshirani 2004, diabetes data, as shipped with scikit-learn"


@functools.cache
def diabetes() -> tuple[Pair, Pair, Pair]:
    """Train, validation and test; columns and the target have mean 0 and variance 1 on the *training* rows."""
    with guest("scikit-learn", extra="tasks"):
        from sklearn.datasets import load_diabetes
    bunch = load_diabetes(scaled=False)
    splits = split_rows("diabetes", torch.from_numpy(bunch.data), torch.from_numpy(bunch.target)[:, None])
    return standardised(splits, targets=True)
