"""One-cycle: up to the peak, then down to almost nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

from steepest.core.errors import HyperparameterError
from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, choice, duration, schedule
from steepest.schedules.cosine import half_wave

Shape = Literal["cos", "linear"]

_FALL: dict[str, Callable[[float], float]] = {"cos": half_wave, "linear": lambda p: 1 - p}


@schedule
class OneCycle(Schedule):
    r"""Super-convergence: one rise and one long fall.

    From ``start`` at the first step to ``peak`` at step :math:`W - 1`, to ``end`` at the last step :math:`S - 1`; with
    three phases back to ``start`` at :math:`2 W - 2` on the way.

    Args:
        warmup: Length of the rise, :math:`W`; a fraction is not rounded to whole steps (as in torch).
        start: First factor. Unitless, in [0, inf). The default is torch's ``1 / div_factor``.
        peak: Factor at the top. Unitless, in [0, inf).
        end: Last factor. Unitless, in [0, inf). The default is torch's ``1 / (div_factor * final_div_factor)``.
        shape: ``"cos"`` or ``"linear"``, of each phase.
        phases: 2, or 3: the symmetric fall and then the annealing of the paper.
        steps: Length in all, :math:`S`. None: the whole training. Afterwards the factor stays at ``end``.

    The momentum's inverse cycle is ``one_cycle(on="momentum", start=1.0, peak=0.85 / 0.95, end=1.0)``.
    Source: Smith and Topin 2017, arXiv:1708.07120; ``torch.optim.lr_scheduler.OneCycleLR`` with max_lr = base.

    Example:
        >>> [round(f, 2) for f in OneCycle(warmup=3, shape="linear", start=0.2, end=0.0).values(7)]
        [0.2, 0.6, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    warmup: Duration = duration(0.3)
    start: float = hyper(0.04, "[0, inf)")
    peak: float = hyper(1.0, "[0, inf)")
    end: float = hyper(4e-6, "[0, inf)")
    shape: Shape = choice("cos", ("cos", "linear"))
    phases: int = hyper(2, "[2, 3]")
    steps: Duration | None = duration(None, none=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.phases not in (2, 3):
            raise HyperparameterError(f"one_cycle: phases is 2 or 3; got {self.phases!r}.")
        if self.phases == 3 and isinstance(self.warmup, float) and 0.5 < self.warmup < 1:
            raise HyperparameterError(
                f"one_cycle: three phases go up and down again, so warmup is at most 0.5; got {self.warmup!r}."
            )

    def curve(self, t: int, clock: Clock) -> float:
        total = clock.steps(self.steps, self.name)
        rise = self.warmup
        w = rise * total if isinstance(rise, float) and rise < 1 else clock.steps(rise, self.name)
        corners = [(0.0, self.start), (w - 1, self.peak)]
        if self.phases == 3:
            corners.append((2 * w - 2, self.start))
        corners.append((total - 1.0, self.end))
        for (t0, a), (t1, b) in pairwise(corners):
            if t <= t1 and t1 > t0:
                q = _FALL[self.shape]((t - t0) / (t1 - t0))
                return a * q + b * (1 - q)
        return self.end


@piece("schedule")
def one_cycle(
    warmup: Duration = 0.3,
    start: float = 0.04,
    peak: float = 1.0,
    end: float = 4e-6,
    shape: Shape = "cos",
    phases: int = 2,
    steps: Duration | None = None,
    by: By = "step",
    on: str = "lr",
) -> Schedule:
    """Up to the peak, then down to almost nothing. Source: arXiv:1708.07120; torch OneCycleLR."""
    return OneCycle(warmup, start, peak, end, shape, phases, steps, by=by, on=on)
