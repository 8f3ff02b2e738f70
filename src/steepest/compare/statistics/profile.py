r"""Scores over a suite from times to target, as AlgoPerf takes them.

.. math:: r_{s,w} = t_{s,w} / \min_{s'} t_{s',w} \qquad \rho_s(\tau) = \text{share of workloads with } r_{s,w} \le \tau
   \qquad B_s = \frac{1}{\tau_{max} - 1} \int_1^{\tau_{max}} \rho_s(\tau)\, d\tau

A strategy that misses a target has an infinite time there. The integral goes to 4, by trapezoids over 100 points: so
the published scores are met exactly. Sources: Dolan & More 2002, arXiv:cs/0102001 (profiles); Dahl et al. 2023,
arXiv:2306.07179, section 4; the reference code, mlcommons/algorithmic-efficiency, ``scoring/performance_profile.py``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy

Times = Mapping[str, Mapping[str, float]]
"""Time to target by strategy, then by workload, in any unit; infinity where it was missed."""
FURTHEST, POINTS = 4.0, 100


def ratios(times: Times) -> dict[str, dict[str, float]]:
    """How many times longer than the fastest each strategy took on each workload.

    >>> ratios({"a": {"x": 10, "y": float("inf")}, "b": {"x": 20, "y": 5}})
    {'a': {'x': 1.0, 'y': inf}, 'b': {'x': 2.0, 'y': 1.0}}
    """
    fastest = {w: min(t[w] for t in times.values()) for w in next(iter(times.values()), {})}
    return {
        s: {w: math.inf if math.isinf(t) else 1.0 if t == fastest[w] else t / fastest[w] for w, t in of.items()}
        for s, of in times.items()
    }


def profile(times: Times, tau: Sequence[float]) -> dict[str, list[float]]:
    """The share of workloads on which each strategy is within a factor of the fastest.

    >>> profile({"a": {"x": 10, "y": 30}, "b": {"x": 20, "y": 5}}, [1, 2, 8])
    {'a': [0.5, 0.5, 1.0], 'b': [0.5, 1.0, 1.0]}
    """
    return {s: [sum(r <= t for r in of.values()) / len(of) for t in tau] for s, of in ratios(times).items()}


def score(times: Times, furthest: float = FURTHEST, points: int = POINTS) -> dict[str, float]:
    """Each strategy's score in [0, 1]: 1 for one that is the fastest everywhere, 0 for one that misses every target.

    >>> score({"a": {"x": 10, "y": 10}, "b": {"x": float("inf"), "y": 50}})
    {'a': 1.0, 'b': 0.0}
    """
    tau = numpy.linspace(1, furthest, points)
    found = profile(times, [float(t) for t in tau])
    return {s: float(numpy.trapezoid(rho, tau) / (furthest - 1)) for s, rho in found.items()}


def speed(times: Times, against: str) -> dict[str, float | None]:
    """Geometric mean of how many times faster each strategy is than a given one; None where it misses a target.

    Only workloads on which the given one reaches the target count.

    >>> speed({"a": {"x": 10, "y": 20}, "b": {"x": 20, "y": 40}}, "a")
    {'a': 1.0, 'b': 0.5}
    """
    counted = [w for w, t in times[against].items() if math.isfinite(t)]
    found: dict[str, float | None] = {}
    for s, of in times.items():
        gains = [times[against][w] / of[w] for w in counted]
        found[s] = statistics.geometric_mean(gains) if gains and all(g > 0 for g in gains) else None
    return found
