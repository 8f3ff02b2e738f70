"""Cyclic: triangles between a low and a high factor."""

from __future__ import annotations

from typing import Literal

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, choice, duration, schedule

Mode = Literal["triangular", "triangular2", "exp_range"]


@schedule
class Cyclic(Schedule):
    r"""Up and down in straight lines, for ever.

    .. math:: f(t) = a + (b - a)\, h(t)\, s(t)

    where :math:`h` goes from 0 to 1 in :math:`U` steps and back in :math:`D`, and :math:`s = 1` (triangular),
    :math:`s = 2^{-c}` in cycle :math:`c = 0, 1, \dots` (triangular2) or :math:`s = \gamma^t` (exp_range).

    Args:
        up: Steps from low to high, :math:`U`.
        down: Steps from high to low, :math:`D`. None: as many as up.
        low: Factor at the start of a cycle, :math:`a`. Unitless, in [0, inf).
        high: Factor at its top, :math:`b`. Unitless, in [0, inf). May lie below ``low``: a momentum goes the other way.
        mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``.
        gamma: Decay of the height a step, for exp_range. Unitless, in (0, 1].

    Source: Smith 2015, arXiv:1506.01186; ``torch.optim.lr_scheduler.CyclicLR`` with base_lr = low, max_lr = high.
    Differs from: CyclicLR, which also cycles the momentum unless told not to, and so fails for rules without one. Here
    each hyperparameter has its schedule: ``cyclic(on="momentum", low=1.0, high=0.9)``.

    Example:
        >>> Cyclic(up=2, low=0.5, mode="triangular2").values(7)
        [0.5, 0.75, 1.0, 0.75, 0.5, 0.625, 0.75]
    """

    up: Duration = duration(2000)
    down: Duration | None = duration(None, none=True)
    low: float = hyper(0.1, "[0, inf)")
    high: float = hyper(1.0, "[0, inf)")
    mode: Mode = choice("triangular", ("triangular", "triangular2", "exp_range"))
    gamma: float = hyper(1.0, "(0, 1]")

    def curve(self, t: int, clock: Clock) -> float:
        up = clock.steps(self.up, self.name)
        down = up if self.down is None else clock.steps(self.down, self.name)
        cycle, i = divmod(t, up + down)
        height = i / up if i <= up else 1 - (i - up) / down
        if self.mode == "triangular2":
            height *= 0.5**cycle
        elif self.mode == "exp_range":
            height *= self.gamma**t
        return self.low * (1 - height) + self.high * height


@piece("schedule")
def cyclic(
    up: Duration = 2000,
    down: Duration | None = None,
    low: float = 0.1,
    high: float = 1.0,
    mode: Mode = "triangular",
    gamma: float = 1.0,
    by: By = "step",
    on: str = "lr",
) -> Schedule:
    """Triangles between a low and a high factor. Source: arXiv:1506.01186."""
    return Cyclic(up, down, low, high, mode, gamma, by=by, on=on)
