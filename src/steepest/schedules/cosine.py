"""Cosine: half a wave down to a minimum, where it stays."""

from __future__ import annotations

import math

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, duration, schedule


def half_wave(p: float, end: float = 0.0) -> float:
    """From 1 at ``p = 0`` to ``end`` at ``p = 1`` along half a cosine.

    >>> half_wave(0.0, 0.1), half_wave(0.5), half_wave(1.0, 0.1)
    (1.0, 0.5, 0.1)
    """
    return end + (1 - end) * (1 + math.cos(math.pi * p)) / 2


@schedule
class Cosine(Schedule):
    r"""Half a cosine wave from 1 down to a minimum.

    .. math:: f(t) = e + (1 - e) \frac{1 + \cos(\pi \min(1, t / S))}{2}

    Args:
        steps: Length of the half wave, :math:`S`. None: the whole training.
        end: The minimum :math:`e`, relative to the base. Unitless, in [0, inf); above 1 the wave goes up
            (as for a weight decay that grows).

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983, Equation 5, without restarts.
    Differs from: ``torch.optim.lr_scheduler.CosineAnnealingLR``, which climbs back after ``T_max``; this one stays at
    its minimum. Equal up to ``T_max``.

    Example:
        >>> [round(f, 3) for f in Cosine(steps=4, end=0.1).values(7)]
        [1.0, 0.868, 0.55, 0.232, 0.1, 0.1, 0.1]
    """

    steps: Duration | None = duration(None, none=True)
    end: float = hyper(0.0, "[0, inf)")

    def curve(self, t: int, clock: Clock) -> float:
        return half_wave(min(1.0, t / clock.steps(self.steps, self.name)), self.end)


@piece("schedule")
def cosine(steps: Duration | None = None, end: float = 0.0, by: By = "step", on: str = "lr") -> Schedule:
    """Half a cosine wave down to a minimum, where it stays. Source: arXiv:1608.03983."""
    return Cosine(steps, end, by=by, on=on)
