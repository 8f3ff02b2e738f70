"""REX: reflected exponential, a fall that is slow at first and fast at last."""

from __future__ import annotations

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, duration, schedule


@schedule
class Rex(Schedule):
    r"""Reflected exponential decay.

    .. math:: f(t) = e + (1 - e) \frac{1 - p}{1 - p / 2}, \qquad p = \min(1, t / S)

    Args:
        steps: How long it takes, :math:`S`. None: the whole training.
        end: Last factor :math:`e`, which then stays. Unitless, in [0, inf).

    The first step has factor 1 and the last one before :math:`S` is above ``end``: no step is wasted.
    Source: Chen, Wolfe and Kyrillidis 2021, arXiv:2107.04197.

    Example:
        >>> [round(f, 3) for f in Rex().values(4)]
        [1.0, 0.857, 0.667, 0.4]
    """

    steps: Duration | None = duration(None, none=True)
    end: float = hyper(0.0, "[0, inf)")

    def curve(self, t: int, clock: Clock) -> float:
        p = min(1.0, t / clock.steps(self.steps, self.name))
        return self.end + (1 - self.end) * (1 - p) / (1 - p / 2)


@piece("schedule")
def rex(steps: Duration | None = None, end: float = 0.0, by: By = "step", on: str = "lr") -> Schedule:
    """A fall that is slow at first and fast at last. Source: arXiv:2107.04197."""
    return Rex(steps, end, by=by, on=on)
