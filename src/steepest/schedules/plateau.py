"""Reduce on plateau: the one schedule that listens."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple

from steepest.core.errors import HyperparameterError
from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import Clock, Schedule, choice, schedule


class PlateauState(NamedTuple):
    """What a plateau remembers: plain numbers, as json holds them."""

    best: float | None
    bad: int
    cooldown: int
    factor: float


@schedule
class Plateau(Schedule):
    r"""Multiply by gamma when a metric has not improved for a while.

    Every observation that is not better than the best so far is a bad one; more than ``patience`` bad ones in a row
    multiply the factor by gamma, never below ``min_factor``. During the cooldown after that, none is counted.
    Better means ``a < best - threshold * |best|`` (rel, min) or ``a < best - threshold`` (abs, min), and the mirror for
    max; a value that is not finite is never better.

    Args:
        gamma: Factor of a reduction. Unitless, in (0, 1).
        patience: Bad observations that are forgiven. In observations, at least 0.
        threshold: Smallest improvement that counts. In [0, inf).
        threshold_mode: ``"rel"``: relative to the best; ``"abs"``: in units of the metric.
        mode: ``"min"`` when small is good, ``"max"`` when large is good.
        cooldown: Observations after a reduction that are not counted. At least 0.
        min_factor: The factor never falls below it. Unitless, in [0, 1].

    Its state is a tuple of numbers, saved with the optimizer. Observations are the validation values of the
    training loop (``optimizer.observe(value)``).

    Source: ``torch.optim.lr_scheduler.ReduceLROnPlateau``.
    Differs from: torch, where ``rel`` takes a fraction of the signed best, so that below zero a *worse* value counts as
    better (best -1.0: -0.99995 becomes the new best); and where reductions below 1e-8 are dropped.

    Example:
        >>> plateau = Plateau(gamma=0.5, patience=1)
        >>> state = plateau.init()
        >>> for loss in (1.0, 0.9, 0.95, 0.91):
        ...     state = plateau.observe(state, loss)
        >>> state
        PlateauState(best=0.9, bad=0, cooldown=0, factor=0.5)
        >>> plateau.factor(4, Clock(), state)
        0.5
    """

    stateful: ClassVar[bool] = True

    gamma: float = hyper(0.1, "(0, 1)")
    patience: int = hyper(10, "[0, inf)")
    threshold: float = hyper(1e-4, "[0, inf)")
    threshold_mode: Literal["rel", "abs"] = choice("rel", ("rel", "abs"))
    mode: Literal["min", "max"] = choice("min", ("min", "max"))
    cooldown: int = hyper(0, "[0, inf)")
    min_factor: float = hyper(0.0, "[0, 1]")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patience", "cooldown"):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise HyperparameterError(f"plateau: {name} is a whole number of observations; got {value!r}.")

    def init(self) -> PlateauState:
        """The state before the first observation."""
        return PlateauState(best=None, bad=0, cooldown=0, factor=1.0)

    def better(self, value: float, best: float | None) -> bool:
        """Whether a value improves on the best so far by more than the threshold."""
        if not math.isfinite(value):
            return False
        if best is None:
            return True
        margin = self.threshold * (abs(best) if self.threshold_mode == "rel" else 1.0)
        return value < best - margin if self.mode == "min" else value > best + margin

    def observe(self, state: PlateauState, value: float) -> PlateauState:
        """The state after one more observation of the metric; the old one is left as it is."""
        best, bad, cooldown, factor = state
        value, bad = float(value), bad + 1
        if self.better(value, best):
            best, bad = value, 0
        if cooldown > 0:
            cooldown, bad = cooldown - 1, 0
        if bad > self.patience:
            cooldown, bad, factor = self.cooldown, 0, max(factor * self.gamma, self.min_factor)
        return PlateauState(best, bad, cooldown, factor)

    def factor(self, t: int, clock: Clock, state: PlateauState | None = None) -> float:
        """The factor in a state; 1 before any observation."""
        return 1.0 if state is None else state.factor


@piece("schedule")
def plateau(
    gamma: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    mode: Literal["min", "max"] = "min",
    cooldown: int = 0,
    min_factor: float = 0.0,
    on: str = "lr",
) -> Plateau:
    """Multiply by gamma when the validation metric has not improved for a while. Source: torch ReduceLROnPlateau."""
    return Plateau(gamma, patience, threshold, threshold_mode, mode, cooldown, min_factor, on=on)
