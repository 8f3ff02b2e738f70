"""Seeds: one for every trial, more for the better ones, most for the last few; always the same ones, so they pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from steepest.tune.leg import ENDED
from steepest.tune.scheduler import Curve, Move, Scheduler, Whole
from steepest.tune.trial import Trial

SECOND, THIRD = (1, 2), (3, 4, 5, 6, 7, 8, 9)
"""Seeds of the second heat, for a third of the trials, and of the third one, for the best three of these."""
FIELD, LAST = 8, 3
"""How many trials run in the second heat, at most, and in the third."""


@dataclass(frozen=True)
class Race:
    """A search, then its best trials again on other seeds.

    The best of many trials on one seed is partly the luckiest. So a third of the trials, the best ones, run again on
    two other seeds; then the best three by their means on up to seven more. No more trials take part in the second heat
    than leave half of the race for the third.

    Args:
        inner: Leads the search.
        explore: What the search may cost, in whole runs' worth.
        race: What the race may cost; the budget of the search ends it.
        exploring: False: the time for exploring is up.
    """

    inner: Scheduler = field(default_factory=Whole)
    explore: float = math.inf
    race: float = math.inf
    exploring: Callable[[], bool] = field(default=lambda: True, compare=False)

    def next(self, trials: Sequence[Trial]) -> Move | None:
        if self.exploring() and _spent(trials) < self.explore - 1e-9:
            move = self.inner.next(trials)
            if move is not None:
                return move
        if any(t.status == "open" for t in trials):
            return None
        return next_heat(trials, self.race)

    def stops(self, trial: Trial, curve: Curve, trials: Sequence[Trial]) -> bool:
        return trial.legs[-1].seed == 0 and self.inner.stops(trial, curve, trials)

    def limits(self, trials: Sequence[Trial]) -> list[tuple[int, float]]:
        """What a run on the first seed must be better than on its way (:class:`~steepest.tune.fidelity.Median`)."""
        found: Any = getattr(self.inner, "limits", lambda _: [])
        return list(found(trials))


def next_heat(trials: Sequence[Trial], race: float = math.inf) -> Move | None:
    """The next repetition, seed by seed; None where everything is run, or has to end first."""
    ended = [(value, t.number, t) for t in trials if math.isfinite(value := t.repeats().get(0, math.inf))]
    ranked = [t for _, _, t in sorted(ended, key=lambda entry: entry[:2])]
    if not ranked:
        return None
    most = _field(len(ranked), race)
    second = ranked[:most]
    for seed in SECOND:
        for t in second:
            if seed not in _begun(t):
                return Move(t.number, seed=seed)
    if any(leg.status == "open" and leg.seed in SECOND for t in second for leg in t.legs):
        return None
    last = sorted(second, key=lambda t: (_mean(t, (0, *SECOND)), t.number))[:LAST]
    for seed in THIRD:
        for t in last:
            if seed not in _begun(t):
                return Move(t.number, seed=seed)
    return None


def _field(trials: int, race: float) -> int:
    """How many run in the second heat: about half of the race is theirs.

    >>> [_field(40, race) for race in (2, 6, 12, 18, 30, 60)]
    [1, 1, 3, 4, 7, 8]
    """
    return int(min(FIELD, math.ceil(trials / 3), max(1, race // 4)))


def chosen(trials: Sequence[Trial]) -> tuple[Trial, float, tuple[int, ...]] | None:
    """The trial that a race chooses, its mean, and over which seeds: the best mean of those that ran on most seeds.

    Those that lack one seed only, because the budget ended, take part over the seeds that all of them have.
    """
    ran = [(t, t.repeats()) for t in trials if 0 in t.repeats()]
    ran = [(t, of) for t, of in ran if math.isfinite(of[0])]
    if not ran:
        return None
    most = max(len(of) for _, of in ran)
    left = (
        [(t, of) for t, of in ran if len(of) >= max(1, most - 1)] if most > 2 else [r for r in ran if len(r[1]) == most]
    )
    seeds = tuple(sorted(set.intersection(*({*of} for _, of in left))))
    winner, of = min(left, key=lambda r: (sum(r[1][s] for s in seeds) / len(seeds), r[0].number))
    mean = sum(of[s] for s in seeds) / len(seeds)
    if not math.isfinite(mean):  # all broke down on another seed: the best single run stands
        winner, of = min(ran, key=lambda r: (r[1][0], r[0].number))
        return winner, of[0], (0,)
    return winner, mean, seeds


def _begun(trial: Trial) -> set[int]:
    return {leg.seed for leg in trial.legs if leg.steps is None and (leg.status in ENDED or leg.status == "open")}


def _mean(trial: Trial, seeds: Sequence[int]) -> float:
    of = trial.repeats()
    return sum(of.get(seed, math.inf) for seed in seeds) / len(seeds)


def _spent(trials: Sequence[Trial]) -> float:
    return sum(leg.charge for t in trials for leg in t.main)
