"""Multi-step decay: a drop at each milestone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from steepest.core.errors import HyperparameterError
from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, check_duration, saturating_power, schedule


def moments(who: str, at: object) -> tuple[Duration, ...]:
    """Moments in training as a tuple, each a duration from the start, in increasing order where that can be told."""
    if not isinstance(at, (list, tuple)):
        at = (at,)
    for value in at:
        check_duration(f"{who}: at", value)
    plain = [[m for m in at if isinstance(m, (int, float)) and (m < 1) is low] for low in (True, False)]
    if any(a >= b for group in plain for a, b in pairwise(group)):
        raise HyperparameterError(f"{who}: at={tuple(at)} must increase.")
    return tuple(at)


@schedule
class Multistep(Schedule):
    r"""Multiply by gamma at each milestone.

    .. math:: f(t) = \gamma^{|\{ m : m \le t \}|}

    Args:
        at: Milestones :math:`m`, increasing; each in steps, as a fraction of the total, or in epochs.
        gamma: Factor of a drop. Unitless, in [0, inf).

    Source: ``torch.optim.lr_scheduler.MultiStepLR``.

    Example:
        >>> Multistep(at=(0.5, 0.75), gamma=0.5).values(8)
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    at: Sequence[Duration]
    gamma: float = hyper(0.1, "[0, inf)")

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", moments(self.name, self.at))
        super().__post_init__()

    def curve(self, t: int, clock: Clock) -> float:
        return saturating_power(self.gamma, sum(t >= clock.steps(m, self.name) for m in self.at))


@piece("schedule")
def multistep(at: Sequence[Duration], gamma: float = 0.1, by: By = "step", on: str = "lr") -> Schedule:
    """Multiply by gamma at each milestone. Source: torch MultiStepLR."""
    return Multistep(at, gamma, by=by, on=on)
