"""A trial: one point that is tried, and everything that was done with it. Made from legs, never stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steepest.strategy.space import Point
from steepest.tune.leg import ENDED, Leg, Status


@dataclass(frozen=True)
class Trial:
    """What samplers and schedulers see.

    Args:
        number: Grows from trial to trial; there may be gaps.
        index: The place among all trials: 0, 1, 2, ... without gaps.
        legs: Everything that was begun on it, in order; ``withdrawn`` ones are left out.
    """

    number: int
    index: int
    legs: tuple[Leg, ...]

    @property
    def point(self) -> Point | None:
        """What is tried; None while the sampler has not been asked. (Population-based training: the first values.)"""
        return self.legs[0].point

    @property
    def notes(self) -> Mapping[str, Any]:
        """The notes of the first leg."""
        return self.legs[0].notes

    @property
    def main(self) -> tuple[Leg, ...]:
        """The legs on the first seed: those that the search is led by. Repetitions on other seeds are left out."""
        return tuple(leg for leg in self.legs if leg.seed == 0)

    @property
    def last(self) -> Leg:
        """The newest leg on the first seed."""
        return self.main[-1]

    @property
    def status(self) -> Status:
        """Of its newest leg on the first seed: ``open`` while something is being run."""
        return self.last.status

    @property
    def attempt(self) -> int:
        """How often its owner has died in the present leg."""
        return self.last.attempt

    @property
    def values(self) -> tuple[float, ...] | None:
        """What the longest leg on the first seed came to; None where there is none, or it was lost."""
        if self.status in ("diverged", "failed"):
            return None
        done = [leg for leg in self.main if leg.values is not None and leg.status in ENDED]
        return max(done, key=lambda leg: (_reached(leg), leg.number)).values if done else None

    @property
    def value(self) -> float | None:
        """The first of the values."""
        return None if self.values is None else self.values[0]

    def rungs(self) -> dict[float, float]:
        """What it came to at each length that it reached: ``{steps: value}``; infinity where it diverged or failed.

        A leg of full length has the key ``inf``.
        """
        found = {}
        for leg in self.main:
            if leg.status in ("finished", "paused") and leg.values is not None:
                found[steps(leg)] = leg.values[0]
            elif leg.status in ("diverged", "failed"):
                found[steps(leg)] = math.inf
        return found

    def repeats(self) -> dict[int, float]:
        """What it came to at full length on each seed, the first one included; infinity where it was lost."""
        found = {}
        for leg in self.legs:
            if leg.steps is None and leg.status in ENDED:
                found[leg.seed] = leg.values[0] if leg.status == "finished" and leg.values else math.inf
        return found


def steps(leg: Leg) -> float:
    """How far a leg goes; infinity for the full length."""
    return math.inf if leg.steps is None else leg.steps


def trials(legs: Iterable[Leg]) -> list[Trial]:
    """The trials that legs make up, by number."""
    found: dict[int, list[Leg]] = {}
    for leg in sorted(legs, key=lambda leg: leg.number):
        if leg.status != "withdrawn":
            found.setdefault(leg.trial, []).append(leg)
    return [Trial(number, index, tuple(of)) for index, (number, of) in enumerate(sorted(found.items()))]


def best(of: Sequence[Trial]) -> Trial | None:
    """The trial with the smallest value among those of the greatest length that any has reached."""
    known = [t for t in of if t.value is not None and math.isfinite(t.value)]
    if not known:
        return None
    longest = max(_length(t) for t in known)
    return min((t for t in known if _length(t) == longest), key=lambda t: (t.value, t.number))


def _length(trial: Trial) -> float:
    return max(_reached(leg) for leg in trial.main if leg.values is not None)


def _reached(leg: Leg) -> float:
    """How far a leg went: one that was stopped on its way is no longer one than its steps."""
    return float(leg.reached or 0) if leg.status == "stopped" else steps(leg)
