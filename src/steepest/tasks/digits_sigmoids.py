"""A sick case: eight layers of sigmoids, whose gradients vanish on the way to the first."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from steepest.tasks.digits_mlp import digits_mlp
from steepest.tasks.registry import builtin
from steepest.tasks.task import Task


def sigmoids(depth: int = 8) -> nn.Module:
    """64-64-...-64-10, a sigmoid behind each of the hidden layers: 33 930 parameters."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(64, 64), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


@builtin("digits-sigmoids")
def digits_sigmoids() -> Task:
    """Sick: the digits with eight layers of sigmoids, where gradients vanish on their way to the first layer.

    Reason: vanishing gradients: the loss stays at log 10 under most rules, and a doctor should say why.
    Source: Hochreiter 1991; Glorot and Bengio 2010, AISTATS; digits as shipped with scikit-learn.
    """
    return replace(
        digits_mlp(),
        name="digits-sigmoids",
        model=sigmoids,
        target=None,
        description="Handwritten digits, 8 x 8 pixels, eight layers of 64 sigmoids",
    )
