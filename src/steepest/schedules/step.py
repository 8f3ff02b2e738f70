"""Step decay: a drop at even distances."""

from __future__ import annotations

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, duration, saturating_power, schedule


@schedule
class Step(Schedule):
    r"""Multiply by gamma every so many steps.

    .. math:: f(t) = \gamma^{\lfloor t / S \rfloor}

    Args:
        every: Distance between drops, :math:`S`.
        gamma: Factor of a drop. Unitless, in [0, inf).

    Source: ``torch.optim.lr_scheduler.StepLR``.

    Example:
        >>> Step(every=2, gamma=0.5).values(5)
        [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    every: Duration = duration()
    gamma: float = hyper(0.1, "[0, inf)")

    def curve(self, t: int, clock: Clock) -> float:
        return saturating_power(self.gamma, t // clock.steps(self.every, self.name))


@piece("schedule")
def step(every: Duration, gamma: float = 0.1, by: By = "step", on: str = "lr") -> Schedule:
    """Multiply by gamma every so many steps. Source: torch StepLR."""
    return Step(every, gamma, by=by, on=on)
