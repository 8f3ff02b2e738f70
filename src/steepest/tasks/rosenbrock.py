"""Rosenbrock's valley: two parameters, a curved floor, the optimum at (1, 1)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from steepest.tasks.quadratic import Point, at_point
from steepest.tasks.registry import builtin
from steepest.tasks.task import Task, TaskError


def _valley(steepness: float, x: Tensor, batch: Any) -> Tensor:  # noqa: ARG001 - a loss takes a batch
    a, b = x[0::2], x[1::2]
    return (steepness * (b - a.square()).square() + (1 - a).square()).sum()


def _classic_start(dimension: int) -> nn.Module:
    return Point(torch.tensor([-1.2, 1.0]).repeat(dimension // 2))


@builtin("rosenbrock")
def rosenbrock(dimension: int = 2, steepness: float = 100.0) -> Task:
    r"""Rosenbrock's curved valley from the classic start (-1.2, 1), with the optimum at (1, ..., 1).

    .. math::
        f(x) = \sum_{i=1}^{n/2} 100\,(x_{2i} - x_{2i-1}^2)^2 + (1 - x_{2i-1})^2

    Nothing is random: every seed gives the same run.

    Args:
        dimension: Length of ``x``, even, >= 2; each pair of coordinates is one valley.
        steepness: Weight of the wall, > 0 (100 above).

    Reason: exactness: a curved valley from the classic start, where nothing is random.
    Source: Rosenbrock 1960, doi:10.1093/comjnl/3.3.175; for n > 2, More, Garbow and Hillstrom 1981, problem 21.
    """
    if dimension < 2 or dimension % 2 or steepness <= 0:
        raise TaskError(
            f"rosenbrock needs an even dimension >= 2 and steepness > 0; given dimension={dimension}, "
            f"steepness={steepness}."
        )
    return Task(
        name="rosenbrock",
        model=partial(_classic_start, dimension),
        loss=partial(_valley, steepness),
        train=None,
        validation=None,
        forward=at_point,
        steps=500,
        eval_every=25,
        optimum=0.0,
        target=0.025 * dimension,
        description=f"Rosenbrock's valley in {dimension} dimensions, from (-1.2, 1)",
        source="Rosenbrock 1960, doi:10.1093/comjnl/3.3.175",
    )
