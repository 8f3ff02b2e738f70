"""The clock of a budget: what was spent over all calls on a folder, and what is left of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from steepest.compare.budget import Budget
from steepest.compare.pool import GRACE

RESERVE = GRACE + 4.0
"""Seconds that are kept back for the last checkpoints and the verdict."""
EVERY = 2.0
"""Seconds between notes of the time that was spent."""


class Clock:
    """Runs from when it is made; all moments are by ``time.monotonic``.

    >>> clock = Clock(Budget.read("60s"), before=20.0, now=lambda: 1000.0)
    >>> clock.spent, clock.until(), clock.until(0.5), clock.last, clock.over
    (20.0, 1040.0, 1010.0, 1034.0, False)
    >>> Clock(Budget.read("8 runs")).until()
    inf

    Args:
        budget: Of this call; one of an earlier call is forgotten, the time that it took is not.
        before: Seconds of the earlier calls.
        now: What time it is.
    """

    def __init__(self, budget: Budget, before: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self.budget, self.before, self.now = budget, before, now
        self.begun = self.noted = now()

    @property
    def timed(self) -> bool:
        """Whether the budget is time."""
        return self.budget.timed

    @property
    def here(self) -> float:
        """Seconds of this call."""
        return self.now() - self.begun

    @property
    def spent(self) -> float:
        """Seconds of all calls."""
        return self.before + self.here

    def until(self, share: float = 1.0) -> float:
        """When a share of the time is over; never, where the budget is no time."""
        return self.begun - self.before + share * self.budget.amount if self.timed else math.inf

    @property
    def last(self) -> float:
        """When the last run must stop."""
        return self.until() - RESERVE

    @property
    def over(self) -> bool:
        """Whether it must have stopped by now."""
        return self.now() >= self.last

    def left(self) -> float:
        """Seconds that may still be planned with."""
        return self.last - self.now()

    def note(self) -> None:
        """The time that was spent is written down now."""
        self.noted = self.now()

    @property
    def due(self) -> bool:
        """Whether that was long ago."""
        return self.now() - self.noted > EVERY
