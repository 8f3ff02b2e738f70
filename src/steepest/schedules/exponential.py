"""Exponential decay, in both forms."""

from __future__ import annotations

import math

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, duration, saturating_power, schedule


@schedule
class Exponential(Schedule):
    r"""Multiply by gamma in every step (or smoothly, once in ``every`` steps).

    .. math:: f(t) = \gamma^{t / S}

    Args:
        gamma: Factor after :math:`S` steps. In (0, inf); above 1 it rises, as when a learning rate is sought.
        every: :math:`S`; the default 1 is the textbook's form.

    Source: ``torch.optim.lr_scheduler.ExponentialLR``; with ``every``, ``optax.exponential_decay``.
    Identity: ``Exponential(math.exp(-g)) == ExpDecay(g)``.

    Example:
        >>> Exponential(0.5).values(3), Exponential(0.25, every=2).values(3)
        ([1.0, 0.5, 0.25], [1.0, 0.5, 0.25])
    """

    gamma: float = hyper(0.95, "(0, inf)")
    every: Duration = duration(1)

    def curve(self, t: int, clock: Clock) -> float:
        return saturating_power(self.gamma, t / clock.steps(self.every, self.name))


@schedule
class ExpDecay(Schedule):
    r"""The same decay, written with a rate.

    .. math:: f(t) = e^{-\gamma t / S}

    Args:
        gamma: Rate of decay per :math:`S` steps. In 1 / (:math:`S` steps), in [0, inf).
        every: :math:`S`; the default 1 is the textbook's form.

    Example:
        >>> [round(f, 3) for f in ExpDecay(0.1).values(3)]
        [1.0, 0.905, 0.819]
    """

    gamma: float = hyper(0.001, "[0, inf)")
    every: Duration = duration(1)

    def curve(self, t: int, clock: Clock) -> float:
        return math.exp(-self.gamma * t / clock.steps(self.every, self.name))


@piece("schedule")
def exponential(gamma: float = 0.95, every: Duration = 1, by: By = "step", on: str = "lr") -> Schedule:
    """Decay by a factor: gamma**(t / every). Source: torch ExponentialLR."""
    return Exponential(gamma, every, by=by, on=on)


@piece("schedule")
def exp_decay(gamma: float = 0.001, every: Duration = 1, by: By = "step", on: str = "lr") -> Schedule:
    """Decay by a rate: exp(-gamma * t / every)."""
    return ExpDecay(gamma, every, by=by, on=on)
