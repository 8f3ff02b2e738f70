"""Constant: one factor, for a while or for good."""

from __future__ import annotations

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, duration, schedule


@schedule
class Constant(Schedule):
    r"""A fixed factor; when ``steps`` is given, 1 after them.

    .. math:: f(t) = c \text{ for } t < S, \text{ else } 1

    Args:
        value: The factor :math:`c`. Unitless, in [0, inf).
        steps: How long it holds, :math:`S`. None: for good.

    Source: ``torch.optim.lr_scheduler.ConstantLR`` when ``steps`` is given.

    Example:
        >>> Constant(0.5, steps=2).values(4)
        [0.5, 0.5, 1.0, 1.0]
    """

    value: float = hyper(1.0, "[0, inf)")
    steps: Duration | None = duration(None, none=True)

    def curve(self, t: int, clock: Clock) -> float:
        return self.value if self.steps is None or t < clock.steps(self.steps, self.name) else 1.0


@piece("schedule")
def constant(value: float = 1.0, steps: Duration | None = None, by: By = "step", on: str = "lr") -> Schedule:
    """A fixed factor; 1 after ``steps`` when given. Source: torch ConstantLR."""
    return Constant(value, steps, by=by, on=on)
