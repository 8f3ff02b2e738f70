"""Regression on a small table: how diabetes went on within a year, from ten measurements."""

from __future__ import annotations

from torch import nn

from steepest.tasks.diabetes import SOURCE, diabetes
from steepest.tasks.measures import absolute_error, squared_error
from steepest.tasks.registry import builtin
from steepest.tasks.task import Task


def perceptron() -> nn.Module:
    """10-64-64-1 with ReLU: 4 929 parameters."""
    return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


@builtin("diabetes-mlp")
def diabetes_mlp() -> Task:
    """Regression on a small table, diabetes, with a perceptron 10-64-64-1.

    The target is standardised: a mean squared error of 1 is that of predicting the mean.

    Reason: regression, and overfitting: a good training loss is easy, and the best steps are small or few.
    Source: Efron et al. 2004, doi:10.1214/009053604000000067, diabetes data, as shipped with scikit-learn.
    """
    train, validation, test = diabetes()
    return Task(
        name="diabetes-mlp",
        model=perceptron,
        loss=squared_error,
        train=train,
        validation=validation,
        test=test,
        metrics={"absolute": absolute_error},
        batch_size=32,
        steps=400,
        eval_every=20,
        description="Progress of diabetes from 10 measurements, perceptron 10-64-64-1",
        source=SOURCE,
    )
