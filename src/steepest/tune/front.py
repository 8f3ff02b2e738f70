"""Two objectives: the loss against what the training costs. What cannot be had better for less is the front."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from steepest.compare.plan import ComparisonError
from steepest.core.errors import did_you_mean
from steepest.strategy.dimension import Range, SpaceError
from steepest.tune.box import Box
from steepest.tune.leg import ENDED
from steepest.tune.scheduler import Curve, Move
from steepest.tune.trial import Trial

Against = Literal["steps", "seconds"]
"""``"steps"``: gradients that a run took (as many as its steps, for most strategies); ``"seconds"``: of a processor."""
AGAINST = ("steps", "seconds")
LENGTH = "steps"
"""What the length of a run is called in a box."""
SHORTEST, LEAST = 16, 10
"""Lengths begin at this part of the full one, and at no fewer steps."""
AGAIN = (1, 2)
"""Seeds on which the front is run once more."""


def with_length(box: Box, full: int) -> Box:
    """The box in which the length of a run is searched too.

    >>> print(with_length(Box.of({"lr": (0.0, 1.0)}), 640))
    lr=(0.0, 1.0), steps=log(40, 640)
    """
    if LENGTH in box.dimensions:
        raise SpaceError(f"{LENGTH!r} is searched already.")
    low = max(LEAST, full // SHORTEST)
    if low >= full:
        raise SpaceError(f"runs of {full} steps leave no room for shorter ones; give more steps.")
    return Box({**box.dimensions, LENGTH: Range(low, full, "log", whole=True)}, box.needs)


def checked(against: str | None, scheduler: object) -> None:
    """Refuse what does not go together."""
    if against is None:
        return
    if against not in AGAINST:
        raise ComparisonError(f"no cost {against!r} to weigh the loss against. {did_you_mean(against, AGAINST)}")
    if scheduler not in (None, "whole"):
        raise ComparisonError("with two objectives every trial is a whole run of a length of its own: no scheduler.")


def front(of: Sequence[Trial]) -> list[Trial]:
    """The trials that none beats in one value without losing in the other, on the first seed; the cheapest first."""
    known = [t for t in of if t.values is not None and len(t.values) > 1 and all(map(math.isfinite, t.values))]
    found: list[Trial] = []
    for t in sorted(known, key=lambda t: (*reversed(t.values or ()), t.number)):
        if not found or (t.values or ())[0] < (found[-1].values or ())[0]:
            found.append(t)
    return found


@dataclass(frozen=True)
class Front:
    """A search of both, then every trial of the front again on two more seeds.

    Which trials are on the front was seen on one seed, and so is partly luck; what they come to on the others is not.

    Args:
        explore: What the search may cost, in whole runs' worth.
        exploring: False: the time for exploring is up.
    """

    explore: float = math.inf
    exploring: Callable[[], bool] = field(default=lambda: True, compare=False)

    def next(self, trials: Sequence[Trial]) -> Move | None:
        spent = sum(leg.charge for t in trials for leg in t.main)
        if self.exploring() and spent < self.explore - 1e-9:
            return Move()
        if any(t.status == "open" for t in trials):
            return None
        members = front(trials)
        for seed in AGAIN:
            for t in members:
                if not any(leg.seed == seed and (leg.status in ENDED or leg.status == "open") for leg in t.legs):
                    return Move(t.number, seed=seed, point=t.point)
        return None

    def stops(self, trial: Trial, curve: Curve, trials: Sequence[Trial]) -> bool:
        return False


def fresh(trial: Trial) -> list[float]:
    """What a trial came to on the other seeds; infinity where it was lost."""
    return [value for seed, value in trial.repeats().items() if seed]
