"""Curves: smoothing, the band over seeds, and thinning that keeps the first, the last and the extremes.

All functions take and return float64 arrays; NaN marks a value that is missing or not finite.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Values over steps; both of shape (n,), steps increasing."""

    steps: Array
    values: Array

    def __post_init__(self) -> None:
        if self.steps.shape != self.values.shape:
            raise ValueError(f"steps {self.steps.shape} and values {self.values.shape} must have one shape.")

    def finite(self) -> Curve:
        """Only the points whose value is a finite number."""
        keep = np.isfinite(self.values)
        return Curve(self.steps[keep], self.values[keep])


@dataclass(frozen=True)
class Band:
    """Mean, smallest and largest value over ``n`` seeds at each step."""

    steps: Array
    mean: Array
    low: Array
    high: Array
    n: int


def window(length: int, share: float = 0.02) -> int:
    """Odd width of the smoothing window for a curve of this length: ``share`` of it.

    >>> [window(n) for n in (10, 100, 600, 5000)]
    [1, 3, 13, 101]
    """
    return 2 * round(length * share / 2) + 1


def smooth(values: Array, width: int) -> Array:
    """Centred moving average: no lag, and the window shrinks evenly at both ends, so the ends are not bent.

    ``out[i] = mean(values[i-r : i+r+1])`` with ``r = min(width // 2, i, n-1-i)``; NaN values are left out of the mean.

    >>> smooth(np.array([0.0, 3.0, 0.0, 3.0, 0.0]), 3).tolist()
    [0.0, 1.0, 2.0, 1.0, 0.0]
    """
    n = len(values)
    index = np.arange(n)
    radius = np.minimum(np.minimum(width // 2, index), n - 1 - index)
    good = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
    count = np.concatenate([[0.0], np.cumsum(good)])
    low, high = index - radius, index + radius + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Array = (total[high] - total[low]) / (count[high] - count[low])
    return out


def band(curves: Sequence[Curve]) -> Band:
    """Mean and range over the steps that every curve covers; a curve on other steps is interpolated between its points.

    >>> two = Curve(np.array([0.0, 2.0]), np.array([1.0, 3.0])), Curve(np.array([0.0, 1.0, 2.0]), np.zeros(3))
    >>> band(two).mean.tolist()
    [0.5, 1.0, 1.5]
    """
    curves = [curve.finite() for curve in curves]
    curves = [curve for curve in curves if len(curve.steps)]
    if not curves:
        empty = np.zeros(0)
        return Band(empty, empty, empty, empty, 0)
    steps = np.unique(np.concatenate([curve.steps for curve in curves]))
    first, last = max(curve.steps[0] for curve in curves), min(curve.steps[-1] for curve in curves)
    steps = steps[(steps >= first) & (steps <= last)]
    values = np.stack([np.interp(steps, curve.steps, curve.values) for curve in curves])
    return Band(steps, values.mean(0), values.min(0), values.max(0), len(curves))


def thin(low: Array, high: Array, points: int) -> NDArray[np.intp]:
    """Indices of at most ``points`` places: first, last, and in each of equal buckets the lowest and the highest.

    >>> x = np.zeros(1000); x[417] = 9.0; x[700] = -9.0
    >>> kept = thin(x, x, 20); len(kept) <= 20, {0, 417, 700, 999} <= set(kept.tolist())
    (True, True)
    """
    n = len(low)
    if n <= points:
        return np.arange(n)
    buckets = max(1, (points - 2) // 2)
    edges = np.linspace(1, n - 1, buckets + 1).astype(int)
    keep = [0, n - 1]
    for start, stop in itertools.pairwise(edges):
        if stop > start:
            keep.append(start + int(np.argmin(np.nan_to_num(low[start:stop], nan=np.inf))))
            keep.append(start + int(np.argmax(np.nan_to_num(high[start:stop], nan=-np.inf))))
    return np.unique(np.array(keep, dtype=np.intp))


def rounded(values: Array, digits: int = 5) -> list[float | None]:
    """Plain numbers of ``digits`` significant digits for JSON; None where not finite.

    >>> rounded(np.array([0.123456789, np.nan, 1234567.0]))
    [0.12346, None, 1234600.0]
    """
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values.tolist()]
