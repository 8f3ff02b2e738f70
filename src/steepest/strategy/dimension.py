"""What a searched number or word may be: a range on some scale, or one of several values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from steepest.core.errors import SteepestError

Scale = Literal["linear", "log", "near_one"]
End = Literal["low", "high"]
DIGITS = 4
"""Significant digits of what is drawn from a range: enough for any search, and a strategy's text stays short."""


class SpaceError(SteepestError, ValueError):
    """A search space, or a point, that makes no sense."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, drawn evenly on a scale.

    Args:
        low, high: The ends; both can be drawn.
        scale: ``"linear"``; ``"log"``, where every factor counts alike; or ``"near_one"``, the logarithm of ``1 - x``,
            on which a momentum is drawn as evenly as the number of steps that it remembers, ``1 / (1 - x)``.
        whole: Whole numbers only.

    >>> rate = Range(1e-5, 1e-1, "log")
    >>> rate.at(0), rate.at(0.5), rate.at(1), round(rate.place(1e-2), 9)
    (1e-05, 0.001, 0.1, 0.75)
    >>> print(rate, Range(0.9, 0.99, "near_one"), Range(0.0, 0.2), Range(5, 50, whole=True))
    log(1e-05, 0.1) near_one(0.9, 0.99) (0.0, 0.2) (5, 50)
    """

    low: float
    high: float
    scale: Scale = "linear"
    whole: bool = False

    def __post_init__(self) -> None:
        ends = (self.low, self.high)
        if any(isinstance(e, bool) or not isinstance(e, (int, float)) or not math.isfinite(e) for e in ends):
            raise SpaceError(f"the ends of a range are two numbers; {self} has others.")
        if not self.low < self.high:
            raise SpaceError(f"a range goes from a smaller to a larger number; {self} does not.")
        if self.scale == "log" and self.low <= 0:
            raise SpaceError(f"a logarithm needs numbers above 0; {self} begins at {self.low!r}.")
        if self.scale == "near_one" and self.high >= 1:
            raise SpaceError(f"near_one takes numbers below 1; {self} ends at {self.high!r}.")
        if self.whole and not all(isinstance(e, int) for e in ends):
            raise SpaceError(f"a range of whole numbers has whole ends; {self} has not.")

    def at(self, u: float) -> float:
        """The number at a share of the way from ``low`` to ``high``."""
        if self.whole:  # each whole number has a cell of its own
            a, b = self._on(self.low - 0.5), self._on(self.high + 0.5)
            return min(max(round(self._off(a + u * (b - a))), int(self.low)), int(self.high))
        if u in (0, 1):
            return self.high if u else self.low
        a, b = self._on(self.low), self._on(self.high)
        x = self._off(a + u * (b - a))
        x = 1 - _rounded(1 - x, self._digits) if self.scale == "near_one" else _rounded(x, self._digits)
        return min(max(round(x, 12), self.low), self.high)

    def place(self, x: float) -> float:
        """Where a number lies: 0 at ``low``, 1 at ``high``, outside of both beyond them."""
        a, b = self._on(self.low), self._on(self.high)
        try:
            return (self._on(x) - a) / (b - a)
        except ValueError:
            return -math.inf if self.scale == "log" else math.inf

    def holds(self, x: Any) -> bool:
        """Whether a value may be drawn from here."""
        number = isinstance(x, (int, float)) and not isinstance(x, bool)
        return number and self.low <= x <= self.high and (not self.whole or x == int(x))

    def extended(self, end: End, by: float = 1 / 3) -> Range:
        """A range that goes further at one end, by a share of its present length on its own scale."""
        a, b = self._on(self.low), self._on(self.high)
        reach = by * (b - a)
        if self.scale == "linear":
            x = round(a - _rounded(reach, 2) if end == "low" else b + _rounded(reach, 2), 12)
        else:
            x = self._off(a - reach if end == "low" else b + reach)
            x = round(1 - _rounded(1 - x, 2), 12) if self.scale == "near_one" else _rounded(x, 2)
        if self.whole:
            x = math.floor(x) if end == "low" else math.ceil(x)
        return replace(self, low=x) if end == "low" else replace(self, high=x)

    @property
    def _digits(self) -> int:
        """More of them where all numbers of the range begin alike: ``(1000, 1001)``."""
        low, high = (1 - self.high, 1 - self.low) if self.scale == "near_one" else (self.low, self.high)
        alike = max(abs(low), abs(high)) / (high - low)
        return DIGITS + int(math.log10(alike)) if alike >= 100 else DIGITS

    def _on(self, x: float) -> float:
        """Onto the scale on which draws are even."""
        return {"linear": lambda: x, "log": lambda: math.log(x), "near_one": lambda: -math.log(1 - x)}[self.scale]()

    def _off(self, y: float) -> float:
        return {"linear": lambda: y, "log": lambda: math.exp(y), "near_one": lambda: 1 - math.exp(-y)}[self.scale]()

    def __str__(self) -> str:
        return f"{'' if self.scale == 'linear' else self.scale}({self.low!r}, {self.high!r})"


@dataclass(frozen=True)
class Choice:
    """One of several values, all as likely; no order is read into them, so there is no edge.

    >>> kind = Choice((0.95, 0.99, 0.999))
    >>> kind.at(0), kind.at(0.5), kind.at(1), print(kind)
    choice(0.95, 0.99, 0.999)
    (0.95, 0.99, 0.999, None)
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise SpaceError(f"a choice has at least two values; given {', '.join(map(repr, self.values)) or 'none'}.")
        if len({repr(v) for v in self.values}) < len(self.values):
            raise SpaceError(f"{self} names a value twice.")

    def at(self, u: float) -> Any:
        """The value whose share of [0, 1] holds u."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def place(self, x: Any) -> float:
        """The middle of the share of [0, 1] that belongs to a value."""
        return (self.values.index(x) + 0.5) / len(self.values)

    def holds(self, x: Any) -> bool:
        """Whether it is one of the values."""
        return x in self.values

    def __str__(self) -> str:
        return f"choice({', '.join(map(repr, self.values))})"


Dimension: TypeAlias = "Range | Choice"


def log(low: float, high: float) -> Range:
    """Between two positive numbers, every factor as likely: ``log(1e-5, 1e-1)``."""
    return Range(low, high, "log")


def near_one(low: float, high: float) -> Range:
    """Between two numbers below 1, even in the logarithm of ``1 - x``: for momentum and betas."""
    return Range(low, high, "near_one")


def choice(*values: Any) -> Choice:
    """One of these values."""
    return Choice(values)


def _rounded(x: float, digits: int = DIGITS) -> float:
    return float(f"{x:.{digits}g}")
