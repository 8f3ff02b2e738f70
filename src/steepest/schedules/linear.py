"""Linear: a straight line from one factor to another."""

from __future__ import annotations

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, duration, schedule


@schedule
class Linear(Schedule):
    r"""A straight line, then its last value for good.

    .. math:: f(t) = a + (b - a) \min(1, t / S)

    Args:
        start: First factor :math:`a`. Unitless, in [0, inf).
        end: Last factor :math:`b`. Unitless, in [0, inf).
        steps: How long it takes, :math:`S`. None: the whole training.

    Source: ``torch.optim.lr_scheduler.LinearLR``; ``optax.linear_schedule``.

    Example:
        >>> Linear(1.0, 0.0).values(4)
        [1.0, 0.75, 0.5, 0.25]
    """

    start: float = hyper(1.0, "[0, inf)")
    end: float = hyper(0.0, "[0, inf)")
    steps: Duration | None = duration(None, none=True)

    def curve(self, t: int, clock: Clock) -> float:
        p = min(1.0, t / clock.steps(self.steps, self.name))
        return self.start * (1 - p) + self.end * p


@piece("schedule")
def linear(
    start: float = 1.0, end: float = 0.0, steps: Duration | None = None, by: By = "step", on: str = "lr"
) -> Schedule:
    """A straight line from one factor to another. Source: torch LinearLR."""
    return Linear(start, end, steps, by=by, on=on)
