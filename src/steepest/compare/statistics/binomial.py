"""A share from a few cases, with an interval that holds the truth at least as often as it says."""

from __future__ import annotations

import math
from collections.abc import Callable


def share(wins: float, ties: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Where P(win), ties counting half, lies after n cases.

    Clopper and Pearson's interval (Biometrika 26, 1934), the low end as if all ties were lost, the high end as if all
    were won: it is never too short, and from few cases it is long.

    >>> low, high = share(5, 0, 5)
    >>> round(low, 3), high
    (0.478, 1.0)
    >>> tuple(round(x, 3) for x in share(3, 0, 10))
    (0.067, 0.652)
    """
    alpha, least, most = (1 - level) / 2, int(wins), int(wins + ties)
    low = 0.0 if least == 0 else _root(lambda p: _at_least(least, n, p) - alpha)
    high = 1.0 if most == n else _root(lambda p: alpha - (1 - _at_least(most + 1, n, p)))
    return low, high


def _at_least(k: int, n: int, p: float) -> float:
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


def _root(f: Callable[[float], float]) -> float:
    """Where an increasing function crosses zero in [0, 1]."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) < 0 else (low, middle)
    return (low + high) / 2
