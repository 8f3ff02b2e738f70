"""Several comparisons at once: the more are made, the more often luck alone makes one look real."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p: Sequence[float]) -> list[float]:
    """P-values such that rejecting those of at most 5 % is wrong anywhere in at most 5 % of cases.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than one before it. It
    holds whatever the comparisons have to do with each other. Source: Holm 1979, Scand. J. Statist. 6.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, highest = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        highest = min(1.0, max(highest, (len(p) - place) * p[i]))
        adjusted[i] = highest
    return adjusted
