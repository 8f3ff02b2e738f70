"""Schedulers by name, for runs of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

from steepest.compare.plan import ComparisonError
from steepest.core.errors import did_you_mean, unknown
from steepest.tune.fidelity import Asha, AtRung, Climb, Hyperband, Median, Rungs
from steepest.tune.fidelity.median import noted
from steepest.tune.leg import Leg
from steepest.tune.sampler import Sampler
from steepest.tune.scheduler import Curve, Scheduler, Whole

SHORTEST, LEAST = 27, 10
"""The shortest rung: this part of a run, and no fewer steps than so many."""
SCHEDULERS = ("whole", "asha", "hyperband", "bohb", "median")
GRACE, ENOUGH = 4, 5
"""Where runs are stopped on their way: not before this part of a run, nor before so many others have finished."""


def scheduler(given: str | Scheduler | None, full: int, climb: Climb = "again") -> Scheduler:
    """A scheduler for runs of so many steps; ``bohb`` is hyperband, with a sampler that learns.

    >>> scheduler("asha", 540)
    Asha(rungs=Rungs(full=540, eta=3.0, least=20, count=None, climb='again'), trials=None)
    """
    if climb not in get_args(Climb):
        raise ComparisonError(f"no way {climb!r} to climb. {did_you_mean(climb, get_args(Climb))}")
    if climb == "on" and given not in ("asha", "hyperband", "bohb"):
        raise ComparisonError('climb="on" is for asha, hyperband and bohb, which climb rungs.')
    if given is None or given == "whole":
        return Whole()
    if not isinstance(given, str):
        return given
    if given not in SCHEDULERS:
        raise unknown("scheduler", given, SCHEDULERS)
    if given == "median":
        return Median(grace=full // GRACE, enough=ENOUGH)
    rungs = Rungs(full, least=max(LEAST, full // SHORTEST), climb=climb)
    return Asha(rungs) if given == "asha" else Hyperband(rungs)


def reading(given: Scheduler, curve: Callable[[Leg], Curve]) -> Scheduler:
    """The scheduler, with the curves of finished runs at hand where it needs them."""
    return replace(given, curve=curve) if isinstance(given, Median) and given.curve is noted else given


def climbs_on(given: Any) -> bool:
    """Whether a trial goes on from where it paused."""
    return getattr(getattr(given, "rungs", None), "climb", "again") == "on"


def over_rungs(asked: Sampler, given: Scheduler) -> Sampler:
    """A sampler that sees values of one length only, where the scheduler runs several."""
    return asked if isinstance(given, (Whole, Median)) or isinstance(asked, AtRung) else AtRung(asked)
