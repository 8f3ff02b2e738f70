"""The plan of a recommendation: how long, how many, how often; pure arithmetic.

Strategies climb a ladder of rungs. On every rung each of them makes a whole run, with its own schedule from beginning
to end, of a shorter length: an eighth of the steps, a quarter, a half. A prefix of a long schedule would not do: while
the learning rate is high, curves cross. After a rung the worse part is rejected, so that two are left for the final at
full length. Rejecting by rungs of growing length is successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PARTS = (8, 4, 2)
SHORTEST = 10
"""Steps: with fewer a schedule is none."""


@dataclass(frozen=True)
class Shape:
    """How much is done for each strategy: settings tried on the first rung, seeds on every rung, seeds of the final."""

    settings: int
    seeds: int
    finals: int


SHAPES = (
    Shape(1, 1, 3),
    Shape(1, 1, 5),
    Shape(3, 1, 5),
    Shape(3, 2, 5),
    Shape(3, 2, 10),
    Shape(5, 2, 10),
    Shape(5, 3, 20),
)
"""From the smallest that can say "separable" on."""


@dataclass(frozen=True)
class Demand:
    """What a whole run of a strategy costs, and in how many settings it can be tried."""

    run: float
    settings: int


def lengths(steps: int) -> tuple[int, ...]:
    """The lengths of the rungs below the full one.

    >>> lengths(600), lengths(30), lengths(9)
    ((75, 150, 300), (15,), (9,))
    """
    return tuple(steps // part for part in PARTS if steps // part >= SHORTEST) or (steps,)


def sizes(strategies: int, rungs: int) -> tuple[int, ...]:
    """How many strategies stand on each rung, and how many are in the final: a fixed share goes each time.

    >>> sizes(8, 3), sizes(7, 3), sizes(3, 2), sizes(2, 3), sizes(1, 3)
    ((8, 5, 3, 2), (7, 5, 3, 2), (3, 2, 2), (2, 2, 2, 2), (1, 1, 1, 1))
    """
    last = min(2, strategies)
    return tuple(max(last, round(strategies * (last / strategies) ** (i / rungs))) for i in range(rungs + 1))


def settings(first: int, rung: int) -> int:
    """How many settings a strategy still has on a rung: half of them go each time.

    >>> [settings(5, rung) for rung in range(4)], settings(1, 2)
    ([5, 3, 2, 1], 1)
    """
    return max(1, math.ceil(first / (1 << rung)))


@dataclass(frozen=True)
class Terms:
    """How runs add up: how many go beside each other, and what each costs whatever its length."""

    at_once: int = 1
    each: float = 0.0


def rung_cost(demands: Sequence[Demand], size: int, tried: int, seeds: int, part: float, terms: Terms) -> float:
    """At most what a rung costs, whoever stands on it; ``part`` is its length as a share of a whole run.

    Where several runs go beside each other the last one may be the longest.
    """
    runs = [(part * d.run + terms.each, min(tried, d.settings)) for d in demands]
    work = sum(sorted((run * n for run, n in runs), reverse=True)[:size])
    longest = max((run for run, _ in runs), default=0.0)
    return (seeds * work + (terms.at_once - 1) * longest) / terms.at_once


def final_cost(demands: Sequence[Demand], seeds: int, terms: Terms) -> float:
    """At most what the final costs."""
    return rung_cost(demands, 2, 1, seeds, 1.0, terms)


def cost(demands: Sequence[Demand], shape: Shape, steps: int, terms: Terms = Terms(), start: int = 0) -> float:
    """At most what all that is left costs from a rung on, the final included.

    >>> eight = [Demand(1.0, 1)] * 8
    >>> cost(eight, Shape(1, 1, 3), 800)  # 8/8 + 5/4 + 3/2, and 2 strategies on 3 seeds
    9.75
    """
    rungs = lengths(steps)
    standing = sizes(len(demands), len(rungs))
    total = final_cost(demands, shape.finals, terms)
    for i in range(start, len(rungs)):
        tried = settings(shape.settings, i)
        total += rung_cost(demands, standing[i], tried, shape.seeds, rungs[i] / steps, terms)
    return total


def choose(demands: Sequence[Demand], budget: float, steps: int, terms: Terms = Terms()) -> Shape | None:
    """The largest shape that the budget pays for; None where it pays for none."""
    fitting = [s for s in SHAPES if cost(demands, s, steps, terms) <= budget]
    return fitting[-1] if fitting else None
