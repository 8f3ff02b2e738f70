r"""Student's t for whole degrees of freedom, without scipy; and how many seeds a difference needs.

For ``n`` paired differences of mean gap ``d`` standard deviations, the paired t-test calls them different when
``|t| > t_{n-1}(1 - alpha/2)``. How often it does is an integral over the deviation ``s`` that a sample shows,

.. math:: P = \int \left[\Phi(d\sqrt{n} - ts) + \Phi(-d\sqrt{n} - ts)\right] f_{n-1}(s)\,ds

with ``f`` the density of ``sqrt(chi2_{n-1} / (n-1))``. Sources: Abramowitz & Stegun 1964, 26.7.3-4 (the distribution);
Cohen 1988, ch. 2 (power).
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

import numpy

ALPHA, POWER = 0.05, 0.8
MOST = 10_000


def tail(t: float, freedom: int) -> float:
    """P(|T| > t): how often luck alone gives a t at least as far from zero.

    >>> round(tail(2.776, 4), 4), tail(0.0, 9), tail(float("inf"), 2)
    (0.05, 1.0, 0.0)
    """
    if math.isinf(t):
        return 0.0
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):  # each term has two more cosines than the one before
        term *= (k - 1) / k * cosine**2
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return min(1.0, max(0.0, 1 - inside))


@functools.cache
def quantile(freedom: int, q: float) -> float:
    """The t below which a share q lies, for q of at least a half.

    >>> [round(quantile(f, 0.975), 3) for f in (1, 2, 3, 4, 9, 30)]
    [12.706, 4.303, 3.182, 2.776, 2.262, 2.042]
    """
    low, high = 0.0, 2.0
    while tail(high, freedom) > 2 * (1 - q):
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, freedom) > 2 * (1 - q) else (low, middle)
    return (low + high) / 2


def power(n: int, gap: float, alpha: float = ALPHA) -> float:
    """How often n pairs show a gap, given in standard deviations of the paired difference.

    >>> round(power(10, 1.0), 3), round(power(5, 0.0), 3)
    (0.803, 0.05)
    """
    freedom, t = n - 1, quantile(n - 1, 1 - alpha / 2)
    s = numpy.linspace(1e-6, 1 + 8 / math.sqrt(2 * freedom), 2001)
    log_density = (
        math.log(2) + freedom / 2 * math.log(freedom / 2) - math.lgamma(freedom / 2)
        + (freedom - 1) * numpy.log(s) - freedom * s**2 / 2
    )  # fmt: skip
    cdf = NormalDist().cdf
    shown = numpy.array([cdf(gap * math.sqrt(n) - t * x) + cdf(-gap * math.sqrt(n) - t * x) for x in s])
    return float(numpy.trapezoid(shown * numpy.exp(log_density), s))


@functools.cache
def seeds_needed(gap: float, power_: float = POWER, alpha: float = ALPHA) -> int | None:
    """The fewest pairs that show a gap so often; the gap in standard deviations of the paired difference.

    >>> seeds_needed(1.0), seeds_needed(2.0), seeds_needed(0.5)
    (10, 5, 34)
    """
    if not gap > 0:
        return None
    n = 3
    while power(n, gap, alpha) < power_:
        z = NormalDist().inv_cdf
        rough = ((z(1 - alpha / 2) + z(power_)) / gap) ** 2  # the answer for many seeds: never above the true one
        if rough > MOST:
            return None
        n = max(n + 1, int(rough))
    return n
