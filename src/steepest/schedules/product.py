"""Product: schedules at the same time, multiplied."""

from __future__ import annotations

import math

from steepest.core.errors import HyperparameterError
from steepest.core.piece import Piece, piece
from steepest.schedules.base import By, Clock, Schedule, part, schedule


@schedule
class Product(Schedule):
    r"""Several schedules at once.

    .. math:: f(t) = \prod_i h_i(t)

    Schedules of a strategy on the same hyperparameter are multiplied anyway; this one is for use inside a sequence.

    Args:
        parts: The schedules :math:`h_i`.

    Source: ``torch.optim.lr_scheduler.ChainedScheduler``.

    Example:
        >>> from steepest.schedules import Linear, Warmup
        >>> Product((Warmup(2), Linear())).values(4)
        [0.5, 0.75, 0.5, 0.25]
    """

    parts: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(part(self.name, p, self.on) for p in self.parts))
        if not self.parts:
            raise HyperparameterError("product needs schedules: product(warmup(500), cosine()).")
        super().__post_init__()

    def curve(self, t: int, clock: Clock) -> float:
        return math.prod(p.factor(t, clock) for p in self.parts)


@piece("schedule")
def product(*parts: Piece | Schedule, by: By = "step", on: str = "lr") -> Schedule:
    """Schedules at the same time, multiplied. Source: torch ChainedScheduler."""
    return Product(parts, by=by, on=on)  # type: ignore[arg-type]
