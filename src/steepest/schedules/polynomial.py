"""Polynomial decay, with an end value."""

from __future__ import annotations

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, duration, schedule


@schedule
class Polynomial(Schedule):
    r"""A power of the time that is left, down to an end value, which then stays.

    .. math:: f(t) = e + (1 - e) (1 - \min(1, t / S))^k

    Args:
        steps: How long it takes, :math:`S`. None: the whole training.
        power: :math:`k`. Unitless, in (0, inf). 1 is a straight line.
        end: Last factor :math:`e`, relative to the base of each parameter group. Unitless, in [0, inf).

    Source: ``optax.polynomial_schedule``.
    Differs from: ``torch.optim.lr_scheduler.PolynomialLR``, which has no end value; equal to it with ``end=0``.

    Example:
        >>> Polynomial(power=2.0, end=0.2).values(2)
        [1.0, 0.4]
    """

    steps: Duration | None = duration(None, none=True)
    power: float = hyper(1.0, "(0, inf)")
    end: float = hyper(0.0, "[0, inf)")

    def curve(self, t: int, clock: Clock) -> float:
        p = min(1.0, t / clock.steps(self.steps, self.name))
        return self.end + (1 - self.end) * float((1 - p) ** self.power)


@piece("schedule")
def polynomial(
    steps: Duration | None = None, power: float = 1.0, end: float = 0.0, by: By = "step", on: str = "lr"
) -> Schedule:
    """A power of the time that is left, down to an end value. Source: optax polynomial_schedule; torch PolynomialLR."""
    return Polynomial(steps, power, end, by=by, on=on)
