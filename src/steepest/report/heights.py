"""Heights of a landscape as they are drawn: as they are, or as logarithms above the floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steepest.report.curves import Array

LEVELS = 14
"""Contour lines, about."""
FINEST = 1e-4
"""Heights above the floor are told apart down to this share of the highest."""


@dataclass(frozen=True)
class Heights:
    """How a height becomes what is drawn.

    Args:
        floor: The height from which logarithms are taken; None: heights are drawn as they are.
        least: What is added above the floor, so that the floor itself has a logarithm.
        low: The lowest drawn value.
        high: The highest.
    """

    floor: float | None
    least: float
    low: float
    high: float

    @classmethod
    def of(cls, z: Array, floor: float | None, log: bool) -> Heights:
        """For a grid of heights; those that are not finite do not count."""
        finite = z[np.isfinite(z)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        if not log or high <= low:
            return cls(None, 0.0, low, high if high > low else low + 1.0)
        base = min(low, low if floor is None else floor)
        least = FINEST * (high - base)
        return cls(base, least, math.log10(low - base + least), math.log10(high - base + least))

    def drawn(self, z: Any) -> Array:
        """Heights as they are drawn.

        >>> Heights.of(np.array([0.0, 100.0]), 0.0, True).drawn([0.0, 100.0]).round(3).tolist()
        [-2.0, 2.0]
        """
        values = np.asarray(z, dtype=np.float64)
        if self.floor is None:
            return values
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log10(np.maximum(values - self.floor, 0.0) + self.least)

    def ticks(self, most: int = 6) -> tuple[list[float], list[str]]:
        """Places on the drawn scale with the heights that belong to them."""
        if self.floor is None:
            raw = (self.high - self.low) / most
            power = 10.0 ** math.floor(math.log10(raw))
            size = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
            values = [size * i for i in range(math.ceil(self.low / size), math.floor(self.high / size) + 1)]
        else:
            first, last = math.floor(self.low), math.ceil(self.high)
            marks = (1, 2, 5) if self.high - self.low <= most / 3 else (1,)
            stride = max(1, math.ceil((last - first) / most))
            above = [m * 10.0**e for e in range(last, first - 1, -stride) for m in marks]
            places = {a: math.log10(a + self.least) for a in sorted(above)}
            values = [self.floor + a for a, place in places.items() if self.low <= place <= self.high]
        return [float(v) for v in self.drawn(values)], [
            f"{v:g}" if 1e-4 <= abs(v) < 1e5 else f"{v:.3g}" for v in values
        ]

    def levels(self) -> tuple[float, float, float]:
        """First and last contour line and the distance between them, on the drawn scale."""
        size = (self.high - self.low) / LEVELS
        return self.low + size / 2, self.high - size / 2, size


def grid(values: Sequence[Sequence[float | None]]) -> Array:
    """Rows of numbers as an array; what was not finite when it was recorded is NaN."""
    return np.array([[math.nan if v is None else v for v in row] for row in values], dtype=np.float64)


def column(values: Sequence[float | None]) -> Array:
    """The same for one row."""
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)
