"""SGDR: cosine waves, each starting anew from the top."""

from __future__ import annotations

from steepest.core.errors import HyperparameterError
from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, duration, schedule
from steepest.schedules.cosine import half_wave


@schedule
class WarmRestarts(Schedule):
    r"""Cosine annealing with warm restarts.

    .. math:: f(t) = e + (d^i - e) \frac{1 + \cos(\pi t_i / S_i)}{2}, \qquad S_i = S m^i

    with :math:`t_i` the steps since restart :math:`i = 0, 1, \dots`

    Args:
        first: Length of the first wave, :math:`S`.
        mult: Each wave is so many times longer than the one before, :math:`m`. A whole number, at least 1.
        end: The minimum :math:`e`. Unitless, in [0, inf).
        decay: Each wave's top is so many times lower, :math:`d`; never below ``end``. Unitless, in (0, 1].

    Source: Loshchilov and Hutter 2016, arXiv:1608.03983, Equation 5.
    Differs from: ``CosineAnnealingWarmRestarts.step(epoch)``, which finds the wave by a rounded logarithm and misses
    restarts (``T_mult=10``, epoch 111); here it is found by whole numbers.

    Example:
        >>> [round(f, 2) for f in WarmRestarts(first=2, mult=2).values(7)]
        [1.0, 0.5, 1.0, 0.85, 0.5, 0.15, 1.0]
    """

    first: Duration = duration(0.1)
    mult: int = hyper(1, "[1, inf)")
    end: float = hyper(0.0, "[0, inf)")
    decay: float = hyper(1.0, "(0, 1]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.mult, int):
            raise HyperparameterError(f"{self.name}: mult is a whole number, at least 1; got {self.mult!r}.")

    def curve(self, t: int, clock: Clock) -> float:
        length = clock.steps(self.first, self.name)
        i = 0
        if self.mult == 1:
            i, t = divmod(t, length)
        else:
            while t >= length:
                t, length, i = t - length, length * self.mult, i + 1
        top = max(self.decay**i, min(self.end, 1.0))
        return top * half_wave(t / length, self.end / top)


@piece("schedule")
def warm_restarts(
    first: Duration = 0.1, mult: int = 1, end: float = 0.0, decay: float = 1.0, by: By = "step", on: str = "lr"
) -> Schedule:
    """Cosine waves, each starting anew from the top (SGDR). Source: arXiv:1608.03983."""
    return WarmRestarts(first, mult, end, decay, by=by, on=on)
