"""A perceptron on a small table: 30 measurements of a cell sample, benign or malignant."""

from __future__ import annotations

import functools

import torch
from torch import nn

from steepest.tasks.measures import cross_entropy, error
from steepest.tasks.registry import builtin, guest
from steepest.tasks.splits import Pair, split_rows, standardised
from steepest.tasks.task import Task


@functools.cache
def cancer() -> tuple[Pair, Pair, Pair]:
    """Train, validation and test; every column has mean 0 and variance 1 on the *training* rows."""
    with guest("scikit-learn", extra="tasks"):
        from sklearn.datasets import load_breast_cancer
    bunch = load_breast_cancer()
    x = torch.from_numpy(bunch.data)
    y = torch.from_numpy(bunch.target).to(torch.int64)
    return standardised(split_rows("cancer", x, y))


def perceptron() -> nn.Module:
    """30-64-64-2 with ReLU: 6 274 parameters."""
    return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


@builtin("cancer-mlp")
def cancer_mlp() -> Task:
    """A small table, breast cancer, with a perceptron 30-64-64-2; noisy because the data are few.

    Reason: classification of a small table: noise from few data, and overfitting.
    Source: Wolberg et al. 1993, UCI breast cancer Wisconsin (diagnostic), as shipped with scikit-learn.
    """
    train, validation, test = cancer()
    return Task(
        name="cancer-mlp",
        model=perceptron,
        loss=cross_entropy,
        train=train,
        validation=validation,
        test=test,
        metrics={"error": error},
        batch_size=32,
        steps=400,
        eval_every=20,
        description="Breast cancer from 30 measurements, perceptron 30-64-64-2",
        source="Wolberg, Mangasarian, Street and Street 1993, UCI breast cancer Wisconsin (diagnostic), "
        "as shipped with scikit-learn",
    )
