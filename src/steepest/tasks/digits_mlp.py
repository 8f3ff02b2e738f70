"""A small perceptron on the digits."""

from __future__ import annotations

from torch import nn

from steepest.tasks.digits import SOURCE, digits
from steepest.tasks.measures import cross_entropy, error
from steepest.tasks.registry import builtin
from steepest.tasks.task import Task


def perceptron() -> nn.Module:
    """64-128-128-10 with ReLU: 26 122 parameters."""
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )  # fmt: skip


@builtin("digits-mlp")
def digits_mlp() -> Task:
    """Handwritten digits with a perceptron 64-128-128-10; a run takes a second.

    Reason: a first look: the cheapest network on real images.
    Source: Alpaydin and Kaynak 1998, UCI optical digits, as shipped with scikit-learn.
    """
    train, validation, test = digits()
    return Task(
        name="digits-mlp",
        model=perceptron,
        loss=cross_entropy,
        train=train,
        validation=validation,
        test=test,
        metrics={"error": error},
        batch_size=64,
        steps=600,
        eval_every=30,
        description="Handwritten digits, 8 x 8 pixels, perceptron 64-128-128-10",
        source=SOURCE,
    )
