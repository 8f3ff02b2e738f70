"""Median stopping: a run that is worse than the others were at its age ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy

from steepest.tune.fidelity.rungs import FidelityError
from steepest.tune.leg import Leg
from steepest.tune.scheduler import Curve, Move
from steepest.tune.trial import Trial


def noted(leg: Leg) -> Curve:
    """The curve that a leg's notes keep under ``"curve"``."""
    found: Any = leg.notes.get("curve", ())
    return [(int(step), float(value)) for step, value in found]


@dataclass(frozen=True)
class Median:
    """Every trial is a full run; it ends where its best value so far is worse than the median of the others.

    With ``of="average"`` the others count with the average of all their values up to the same step (Vizier's rule),
    with ``of="value"`` with their value at that step (Optuna's ``MedianPruner``, and with another percentile its
    ``PercentilePruner``). Only runs that finished are compared with, and only those of the first seed.

    Beware of it where strategies differ in schedule or in how fast they are at first: it compares unfinished runs.

    Args:
        trials: How many; None: as many as the budget pays for.
        grace: No run ends before this step (Optuna: ``n_warmup_steps``).
        enough: Nor before so many others have finished (Optuna: ``n_startup_trials``).
        percentile: A run goes on that is better than this percentage of the others were, counted from the best. In
            (0, 100]; 25: only the best quarter does.
        of: What the others count with.
        curve: Where the curve of a finished leg is found.

    Source: Golovin et al. 2017, Google Vizier, doi:10.1145/3097983.3098043, section 3.2.2; optuna.pruners.
    """

    trials: int | None = None
    grace: int = 0
    enough: int = 3
    percentile: float = 50.0
    of: Literal["average", "value"] = "average"
    curve: Callable[[Leg], Curve] = field(default=noted, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise FidelityError(
                f"percentile lies in (0, 100]: the share of trials that go on; given {self.percentile!r}."
            )
        if self.of not in ("average", "value"):
            raise FidelityError(f'of is "average" or "value"; given {self.of!r}.')
        if self.grace < 0 or self.enough < 1:
            raise FidelityError(f"grace >= 0 steps and enough >= 1 trials; given {self.grace!r} and {self.enough!r}.")

    def next(self, trials: Sequence[Trial]) -> Move | None:
        return Move() if self.trials is None or len(trials) < self.trials else None

    def stops(self, trial: Trial, curve: Curve, trials: Sequence[Trial]) -> bool:
        if not curve:
            return False
        limits = dict(self.limits([t for t in trials if t.number != trial.number], [curve[-1][0]]))
        if curve[-1][0] not in limits:
            return False
        best = min((value for _, value in curve if not math.isnan(value)), default=math.inf)
        return best > limits[curve[-1][0]]

    def limits(self, trials: Sequence[Trial], at: Sequence[int] | None = None) -> list[tuple[int, float]]:
        """(step, value): what a run must have been better than by then.

        Args:
            trials: The others.
            at: At which steps; None: wherever they have values.
        """
        curves = [self.curve(t.last) for t in trials if t.status == "finished"]
        if len(curves) < self.enough:
            return []
        steps = sorted({step for curve in curves for step, _ in curve}) if at is None else at
        found = []
        for step in steps:
            known = [value for curve in curves if (value := self._worth(curve, step)) is not None]
            if step >= self.grace and len(known) >= (self.enough if self.of == "average" else 1):
                found.append((step, float(numpy.percentile(known, self.percentile))))
        return found

    def _worth(self, curve: Curve, step: int) -> float | None:
        """What a curve counts with at a step."""
        past = [value for s, value in curve if (s <= step if self.of == "average" else s == step)]
        if not past or not all(map(math.isfinite, past)):
            return None
        return sum(past) / len(past)
