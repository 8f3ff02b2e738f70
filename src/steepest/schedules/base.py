"""What a schedule is: a pure function from the step to a factor.

The optimizer sets ``hyperparameter = base * factor``, the product over all schedules ``on`` that hyperparameter. A
factor depends on the step and on the length of training alone, so there is nothing to save, and a resumed or extended
run needs no care. Reduce-on-plateau (:mod:`steepest.schedules.plateau`) is the one exception.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, dataclass_transform

from steepest.core.errors import HyperparameterError, did_you_mean
from steepest.core.piece import Piece

Duration: TypeAlias = int | float | str
"""A length or a moment: ``500`` steps, ``0.05`` of the total, ``"3 epochs"``."""

By: TypeAlias = Literal["step", "epoch"]
"""What a schedule counts: steps, or whole epochs (the factor then changes only where an epoch begins)."""


class ClockError(HyperparameterError):
    """A schedule needs the length of training or of an epoch, and nobody said it."""


@dataclass(frozen=True)
class Clock:
    """How long training is, for schedules that depend on it.

    Args:
        total: Steps in all; None: not known. At least 1.
        epoch: Steps in an epoch; None: not known. At least 1.

    >>> Clock(total=1000).steps(0.05), Clock(epoch=40).steps("2.5 epochs"), Clock().steps(300)
    (50, 100, 300)
    >>> Clock().steps(0.05, "warmup")
    Traceback (most recent call last):
    steepest.schedules.base.ClockError: warmup needs the length of training. Say it to the optimizer: \
strategy.optimizer(model, steps=10_000), or to the schedule in steps.
    """

    total: int | None = None
    epoch: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("total", self.total), ("epoch", self.epoch)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise HyperparameterError(f"Clock: {name} is a number of steps, at least 1, or None; got {value!r}.")

    def length(self, who: str = "this schedule") -> int:
        """The total, or an error in the name of the schedule that needs it."""
        if self.total is None:
            raise ClockError(
                f"{who} needs the length of training. Say it to the optimizer: "
                "strategy.optimizer(model, steps=10_000), or to the schedule in steps."
            )
        return self.total

    def steps_per_epoch(self, who: str = "this schedule") -> int:
        """The steps in an epoch, or an error in the name of the schedule that needs it."""
        if self.epoch is None:
            raise ClockError(
                f"{who} counts epochs and needs their length. Say it to the optimizer: "
                "strategy.optimizer(model, steps=10_000, steps_per_epoch=len(loader)), or count in steps."
            )
        return self.epoch

    def steps(self, duration: Duration | None, who: str = "this schedule") -> int:
        """A duration in whole steps of this clock; None is the whole training, a fraction is at least one step."""
        if duration is None:
            return self.length(who)
        if isinstance(duration, str):
            return max(1, round(float(duration.split()[0]) * self.steps_per_epoch(who)))
        if isinstance(duration, int) or duration > 1 or duration == 0:
            return int(duration)
        return max(1, round(duration * self.length(who)))

    def epochs(self, who: str = "this schedule") -> Clock:
        """The clock that counts epochs; one begun counts whole."""
        n = self.steps_per_epoch(who)
        return Clock(None if self.total is None else -(-self.total // n), 1)

    def local(self, start: int, end: int | None = None) -> Clock:
        """The clock of the part of training from ``start`` to ``end`` (None: to the end of training)."""
        end = self.total if end is None else end
        return Clock(None if end is None else max(1, end - start), self.epoch)


def by(unit: By, t: int, clock: Clock, who: str = "this schedule") -> tuple[int, Clock]:
    """Time in the unit that a schedule counts: the step, or the number of the epoch it lies in.

    >>> by("epoch", 7, Clock(total=20, epoch=5))
    (1, Clock(total=4, epoch=1))
    """
    if unit == "step":
        return t, clock
    return t // clock.steps_per_epoch(who), clock.epochs(who)


# Fields of schedules: each is declared with what it must be, and checked when the schedule is made.


def duration(default: Any = dataclasses.MISSING, *, none: bool = False, zero: bool = False) -> Any:
    """Declare a duration; ``none``: it may be None, the whole training. ``zero``: it may be 0."""
    return field(default=default, metadata={"duration": (none, zero)})


def choice(default: str, options: Sequence[str]) -> Any:
    """Declare a word out of a few."""
    return field(default=default, metadata={"choice": tuple(options)})


def check_duration(who: str, value: Any, *, none: bool = False, zero: bool = False) -> None:
    """Refuse what is not a duration."""
    good = False
    if value is None:
        good = none
    elif isinstance(value, str):
        good = re.fullmatch(r"\d*\.?\d+ epochs?", value) is not None and float(value.split()[0]) > 0
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        whole = isinstance(value, int) or (value.is_integer() and value != 1)  # 1.0: a step, or the whole training?
        good = (value > 0 and (whole or value < 1)) or (zero and value == 0)
    if not good:
        raise HyperparameterError(
            f"{who} is a number of steps (1, 2, ...), a fraction of the total (0.05) or a text such as '3 epochs'"
            f"{', or None for the whole training' if none else ', or 0' if zero else ''}; got {value!r}."
        )


def check_number(who: str, value: Any, bounds: Any, default: Any = dataclasses.MISSING, *, whole: bool = False) -> None:
    """Refuse what is not a number inside the bounds, or not a whole one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (whole and value % 1):
        kind = "whole number" if whole else "number"
        raise HyperparameterError(f"{who} must be a {kind} in {bounds.text}, got {value!r}.")
    if value not in bounds:
        hint = "" if default is dataclasses.MISSING else f" The default is {default!r}."
        raise HyperparameterError(f"{who}={value!r} is outside {bounds.text}.{hint}")


def _check_choice(who: str, value: Any, options: tuple[str, ...]) -> None:
    if value not in options:
        near = did_you_mean(value, options) if isinstance(value, str) else f"Known: {', '.join(options)}."
        raise HyperparameterError(f"{who} has no choice {value!r}. {near}")


T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def schedule(cls: type[T]) -> type[T]:
    """Freeze a :class:`Schedule` into a value whose arguments are checked when it is made."""
    return dataclass(frozen=True)(cls)


@schedule
class Schedule:
    """A factor for one hyperparameter as a function of the step: a frozen value, pure, the same for any order of calls.

    Args:
        on: The hyperparameter it multiplies: ``"lr"``, ``"momentum"``, ``"weight_decay"``, ``"max_norm"``, ...;
            ``"sam.rho"``: that of one piece.
        by: ``"step"``, or ``"epoch"``: time and whole-number durations then count epochs.

    A subclass defines :meth:`curve`.

    >>> from steepest.schedules import Step
    >>> Step(every=2, gamma=0.5).values(5)
    [1.0, 1.0, 0.5, 0.5, 0.25]
    >>> Step(every=1, gamma=0.5, by="epoch").values(5, epoch=3)
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    on: str = field(default="lr", kw_only=True)
    by: By = field(default="step", kw_only=True, metadata={"choice": ("step", "epoch")})

    def __post_init__(self) -> None:
        names = self.on.split(".") if isinstance(self.on, str) else []
        if len(names) not in (1, 2) or not all(name.isidentifier() for name in names):
            raise HyperparameterError(
                f"{self.name}: on is the name of a hyperparameter such as 'lr', or of one piece's: 'sam.rho'; "
                f"got {self.on!r}."
            )
        for f in dataclasses.fields(self):
            value, who = getattr(self, f.name), f"{self.name}: {f.name}"
            if "bounds" in f.metadata:
                check_number(who, value, f.metadata["bounds"], f.default, whole=f.metadata["whole"])
            elif "duration" in f.metadata:
                none, zero = f.metadata["duration"]
                check_duration(who, value, none=none, zero=zero)
            elif "choice" in f.metadata:
                _check_choice(who, value, f.metadata["choice"])

    stateful: ClassVar[bool] = False
    """True when the factor depends on what was observed, not on the step alone."""
    early: ClassVar[tuple[str, ...]] = ()
    """Arguments that are durations from the start on. When a run is extended, fractions among them stay what they were
    in steps: what has happened cannot grow with the total."""

    @property
    def name(self) -> str:
        """Its name in the text form."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    def curve(self, t: int, clock: Clock) -> float:
        """The factor at time ``t`` = 0, 1, 2, ... in the unit that this schedule counts."""
        raise NotImplementedError(f"{type(self).__name__} does not define curve")

    def factor(self, t: int, clock: Clock) -> float:
        """The factor at step ``t`` = 0, 1, 2, ...

        Args:
            t: Steps taken before this one, on the schedule's own clock. At least 0.
            clock: How long training and an epoch are, in steps.
        """
        if t < 0:
            raise HyperparameterError(f"{self.name}: the first step is t = 0; got {t!r}.")
        return float(self.curve(*by(self.by, t, clock, self.name)))

    def settled(self, clock: Clock) -> int | None:
        """How many steps a longer training would begin with just the same; None: all of them. (Early ones in steps.)

        >>> from steepest.schedules import Step, Cosine, WarmupStableDecay
        >>> Step(every=30).settled(Clock(100)), Cosine().settled(Clock(100))
        (None, 0)
        >>> WarmupStableDecay(warmup=5, decay=0.2).settled(Clock(100))
        80
        """
        try:
            for t in (0, 1, clock.total or 1):
                self.factor(t, Clock(None, clock.epoch))
        except ClockError:
            return 0
        return None

    def function(self, total: int | None = None, epoch: int | None = None) -> Callable[[int], float]:
        """The factor as a function of the step alone, as ``torch.optim.lr_scheduler.LambdaLR`` takes it."""
        clock = Clock(total, epoch)
        return lambda t: self.factor(t, clock)

    def values(self, total: int, epoch: int | None = None) -> list[float]:
        """The factors of all steps of a training of ``total`` steps."""
        return [*map(self.function(total, epoch), range(total))]


def part(who: str, value: Any, on: str) -> Schedule:
    """A schedule inside another one, from the piece or the schedule that was handed over."""
    built = value.build() if isinstance(value, Piece) else value
    if not isinstance(built, Schedule):
        raise HyperparameterError(f"{who} is made of schedules such as cosine() or step(every=30); got {value!r}.")
    if built.stateful:
        raise HyperparameterError(
            f"{who} cannot hold {built.name}: it has a state of its own. Let it stand beside: "
            f"{who}(...) | {built.name}(...); schedules on one hyperparameter are multiplied."
        )
    if built.on not in ("lr", on):
        raise HyperparameterError(
            f"{who} moves {on!r}, but {built.name} inside it says on={built.on!r}. "
            f"Say it once: {who}(..., on={built.on!r})."
        )
    return built


def saturating_power(base: float, exponent: float) -> float:
    """``base ** exponent``, the largest float instead of an overflow."""
    try:
        return min(float(base**exponent), sys.float_info.max)
    except OverflowError:
        return sys.float_info.max
