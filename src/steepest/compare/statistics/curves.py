"""Speed from a curve of evaluations: when a target was reached, and the area under the logarithm of the loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def first(steps: Sequence[float], values: Sequence[float | None], target: float, goal: str = "min") -> float:
    """The first step at which a value is at the target; infinity where none is.

    >>> first([0, 10, 20], [1.0, 0.4, 0.2], 0.4), first([0, 10], [1.0, None], 0.4)
    (10, inf)
    """
    for step, value in zip(steps, values, strict=True):
        if value is not None and (value <= target if goal == "min" else value >= target):
            return step
    return math.inf


def area(steps: Sequence[float], values: Sequence[float | None]) -> float | None:
    """Mean of the natural logarithm of a loss over a run, by trapezoids: the lower, the earlier it was low.

    A target asks one question of a curve; this asks all of it, and a run that misses a target by a hair is not lost.
    None where the loss is not positive throughout, or not finite (None in a record).

    >>> area([0, 10, 20], [1.0, 1.0, 1.0]), area([0, 10], [1.0, 0.0])
    (0.0, None)
    """
    known = [(s, v) for s, v in zip(steps, values, strict=True) if v is not None and v > 0]
    if len(known) < len(values) or len(known) < 2 or known[-1][0] == known[0][0]:
        return None
    parts = [(b - a) * (math.log(x) + math.log(y)) / 2 for (a, x), (b, y) in itertools.pairwise(known)]
    return math.fsum(parts) / (known[-1][0] - known[0][0])
