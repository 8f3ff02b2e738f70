"""A leg: one stretch of work on a trial, done by one owner. The rows of the store are legs, and nothing else is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from steepest.strategy.space import Point

Status = Literal["open", "finished", "paused", "stopped", "diverged", "failed", "lost", "withdrawn"]
"""What became of a leg.

``open``
    It is being run: it has an owner, and a lease until which the owner is believed to be alive.
``finished``
    It reached the full length of the objective, and ``values`` are what it came to.
``paused``
    It reached its ``steps``, short of the full length; the scheduler may send the trial further.
``stopped``
    The scheduler ended it before its ``steps``; ``values`` are what it had reached.
``diverged``
    What it computed is of no use (a loss that is NaN or grows without bound, an objective that returned NaN); it
    reached ``reached`` steps.
``failed``
    An error; nothing is said of the point.
``lost``
    Its lease ran out: the owner died. Another leg retries it from its checkpoint.
``withdrawn``
    It was never run: another owner had claimed the same thing first, or the budget was spent.
"""
ENDED: tuple[Status, ...] = ("finished", "paused", "stopped", "diverged", "failed")
"""A leg that ended in one of these was run, and is charged."""


@dataclass(frozen=True)
class Leg:
    """One stretch of work.

    Args:
        number: Given by the store, growing, never reused; another process may have the numbers between two of ours.
        trial: The number of the first leg of the trial that it belongs to (its own number for a first leg).
        point: What is tried; None between claiming the leg and asking the sampler.
        seed: Of the run: 0 for the first leg of every trial, so that trials differ by their points alone; 1, 2, ... for
            repetitions.
        steps: Up to which step it goes; None: to the full length of the objective.
        length: For which length the schedule is planned. Equal to ``steps``: a complete shorter schedule. The full
            length (None): a longer run that pauses at ``steps``.
        source: The number of the leg from whose checkpoint it starts, of this trial (promotion) or of another one
            (exploitation in population-based training); None: from scratch.
        attempt: 0, or how often an owner of the same work has died before.
        owner: Who runs it, as ``host:pid:random``.
        until: The end of the lease, in seconds since the epoch.
        status: See :data:`Status`.
        values: What it came to, smaller is better; one number, or one for each objective.
        reached: Steps that were made, where the objective has steps.
        charge: What it cost, in whole runs' worth of work.
        seconds: What it cost by the clock.
        message: Why it did not finish.
        notes: What the sampler or scheduler wants to find again (small, plain data).
        limits: (step, value): it ends where nothing up to a step was as small. Only its owner knows them; they are not
            kept, and whoever retries it gets new ones.
    """

    number: int
    trial: int
    point: Point | None = None
    seed: int = 0
    steps: int | None = None
    length: int | None = None
    source: int | None = None
    attempt: int = 0
    owner: str = ""
    until: float = 0.0
    status: Status = "open"
    values: tuple[float, ...] | None = None
    reached: int | None = None
    charge: float = 0.0
    seconds: float = 0.0
    message: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[tuple[int, float], ...] = field(default=(), compare=False)

    @property
    def first(self) -> bool:
        """Whether it began its trial (and is no retry)."""
        return self.number == self.trial

    @property
    def work(self) -> tuple[Any, ...] | None:
        """What may be claimed once: the same for two legs that would do the same work; None for a new trial."""
        if self.first:
            return None
        return (self.trial, self.seed, self.steps, self.length, self.source, self.attempt)
