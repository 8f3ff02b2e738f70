"""Ranges that are too short: where the best point so far lies next to an end, the range goes on there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steepest.compare.search import extend
from steepest.strategy.dimension import Range
from steepest.strategy.space import Point, Space
from steepest.strategy.value import Strategy
from steepest.tune.box import Box
from steepest.tune.leg import Leg
from steepest.tune.share import TIMES, Share
from steepest.tune.trial import best, trials

CHANCES = (1 / 2, 3 / 4)
"""After these parts of the search an arm may extend its ranges, once each."""
FEWEST = 4
"""Trials that must have ended before that."""


@dataclass(frozen=True)
class Extension:
    """Ranges that go further, and the first point to try there.

    Args:
        ranges: By path, the new ends.
        point: The best one so far, moved half way into what is new.
    """

    ranges: Mapping[str, tuple[float, float]]
    point: Point

    def record(self) -> dict[str, list[float]]:
        """Plain data, for the notes of the trial that extends."""
        return {path: [*ends] for path, ends in self.ranges.items()}


@dataclass(frozen=True)
class Extending:
    """Decides it for one arm, by the rule of a tuned comparison (:mod:`steepest.compare.search`).

    Half of the search covers the space as it is written. Then, and once more after three quarters, every range goes on
    by a third where the best point lies within a tenth of its end, unless no value lies beyond. What is tried there is
    charged like all else. It is written into the trial that goes there first, so every process searches the same box.
    """

    space: Space
    share: Share

    def __call__(self, box: Box, legs: Sequence[Leg]) -> Extension | None:
        done = {leg.trial for leg in legs if leg.status != "withdrawn" and "extended" in leg.notes}
        if len(done) >= sum(self._spent(legs) >= chance for chance in CHANCES):
            return None
        known = trials(legs)
        if sum(t.value is not None and math.isfinite(t.value) for t in known) < FEWEST:
            return None
        winner = best(known)
        if winner is None or winner.point is None:
            return None
        ranges = {
            path: d for path, d in box.dimensions.items() if isinstance(d, Range) and path in self.space.dimensions
        }
        now = self.space.replaced(ranges)
        inside = {path: winner.point[path] for path in now.dimensions}
        longer, windows, _ = extend(now, inside)
        if not windows:
            return None
        moved = dict(winner.point)
        ends: dict[str, tuple[float, float]] = {}
        for path, (low, high) in windows.items():
            of = longer.dimensions[path]
            assert isinstance(of, Range)
            ends[path] = (of.low, of.high)
            moved[path] = of.at((low + high) / 4 if low == 0.0 else (low + 3 * high) / 4)
        return Extension(ends, moved)

    def _spent(self, legs: Sequence[Leg]) -> float:
        """Which part of the search is behind."""
        if self.share.timed:
            return self.share.clock.spent / (TIMES[0] * self.share.clock.budget.amount)
        return sum(leg.charge for leg in legs if leg.status != "withdrawn") / self.share.explore


def strategy_at(space: Space, point: Mapping[str, object]) -> Strategy:
    """The strategy at a point, which may lie where a range was extended to.

    >>> from steepest.strategy.space import space
    >>> strategy_at(space("sgd(lr=log(1e-3, 1))"), {"sgd.lr": 2.0})
    sgd(lr=2.0)
    """
    longer = {}
    for path, of in space.dimensions.items():
        value = point.get(path)
        if isinstance(of, Range) and isinstance(value, (int, float)) and not of.low <= value <= of.high:
            longer[path] = Range(min(of.low, value), max(of.high, value), of.scale, of.whole)
    return (space.replaced(longer) if longer else space).at(point)


def own(space: Space, point: Mapping[str, object]) -> Point:
    """What of a point belongs to the space; a search may have more in it."""
    return {path: value for path, value in point.items() if path in space.dimensions}


def extended(space: Space, box: Box) -> Space:
    """The space with the ranges of a box."""
    return space.replaced({path: d for path, d in box.dimensions.items() if path in space.dimensions})


def words(space: Space, box: Box) -> list[str]:
    """Which ranges were extended, from what to what."""
    pairs = ((path, d, box.dimensions[path]) for path, d in space.dimensions.items())
    return [f"{path} from {old} to {new}" for path, old, new in pairs if new != old]
