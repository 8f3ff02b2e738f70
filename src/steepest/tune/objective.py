"""What is made small: a training run of a task, or any callable."""

from __future__ import annotations

import inspect
import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from steepest.tune.leg import Leg, Status


@dataclass(frozen=True)
class Outcome:
    """What a leg came to. ``values`` are smaller-is-better; see :class:`~steepest.tune.leg.Leg` for the rest.

    ``curve`` are (step, value) on the way, for schedulers that compare them; ``trace`` says where an error arose, and
    is not kept.
    """

    status: Status
    values: tuple[float, ...] | None = None
    reached: int | None = None
    charge: float = 1.0
    seconds: float = 0.0
    message: str = ""
    curve: tuple[tuple[int, float], ...] = ()
    trace: str = field(default="", compare=False, repr=False)


class Ended(BaseException):
    """Thrown out of a function that need go no further; it may clean up, and must let it pass."""


class Objective(Protocol):
    """Runs a leg to its end, from its source if it has one, and says what it came to; never raises."""

    def __call__(self, leg: Leg) -> Outcome: ...


class BlackBox:
    """Any function of a point as an objective.

    The function gets the point as a dict; where it has arguments named ``seed`` or ``steps`` it gets those of the leg
    too. It returns a number, or several. NaN, or an infinity, is a divergence; an exception is a failure. Where it has
    an argument ``report`` it may call ``report(step, value)`` on its way, and is ended there where the scheduler wants
    runs to be better by then (:class:`~steepest.tune.fidelity.Median`).

    >>> BlackBox(lambda p: (p["x"] - 1) ** 2)(Leg(0, 0, {"x": 3.0})).values
    (4.0,)
    >>> BlackBox(lambda p: 1 / p["x"])(Leg(0, 0, {"x": 0.0})).message
    'ZeroDivisionError: float division by zero'

    Args:
        function: What is called.
        objectives: How many numbers it returns.
        full: The full length, where the function takes ``steps``.
    """

    def __init__(self, function: Callable[..., Any], objectives: int = 1, full: int | None = None) -> None:
        self.function, self.objectives, self.full = function, objectives, full
        try:
            self._takes = {"seed", "steps", "report"} & {*inspect.signature(function).parameters}
        except (TypeError, ValueError):  # some builtins have no signature
            self._takes = set()

    def __call__(self, leg: Leg) -> Outcome:
        steps = self.full if leg.steps is None else leg.steps
        curve: list[tuple[int, float]] = []
        limits = dict(leg.limits)

        def report(step: int, value: float) -> None:
            curve.append((int(step), float(value)))
            best = min((v for _, v in curve if not math.isnan(v)), default=math.inf)
            if best > limits.get(int(step), math.inf):
                raise Ended

        also = {"seed": leg.seed, "steps": steps, "report": report}
        charge = 1.0 if leg.steps is None or not self.full else leg.steps / self.full
        start = time.perf_counter()
        try:
            given = self.function(dict(leg.point or {}), **{name: also[name] for name in self._takes})
            found = outcome_of(given, self.objectives)
        except Ended:
            return self._ended(curve, time.perf_counter() - start)
        except Exception as error:
            spent = time.perf_counter() - start
            said = f"{type(error).__name__}: {error}"
            return Outcome("failed", None, None, charge, spent, said, trace=traceback.format_exc())
        spent, ended = time.perf_counter() - start, found.status
        if ended == "finished" and leg.steps is not None:
            ended = "paused"
        return replace(found, status=ended, reached=steps, charge=charge, seconds=spent, curve=tuple(curve))

    def _ended(self, curve: Sequence[tuple[int, float]], seconds: float) -> Outcome:
        """Of a function that was ended on its way: charged for what it had."""
        step, value = curve[-1]
        charge = min(1.0, step / self.full) if self.full else 1.0
        said = f"ended at step {step}: others were better by then"
        return Outcome("stopped", (value,) if math.isfinite(value) else None, step, charge, seconds, said)


def outcome_of(given: Any, objectives: int = 1) -> Outcome:
    """What a function returned, as an outcome; a tensor or array of one element is a number.

    >>> outcome_of(2).values, outcome_of(float("nan")).message
    ((2.0,), 'the objective returned nan')
    >>> outcome_of(None)
    Traceback (most recent call last):
    TypeError: the objective returned None; it should return a number.
    """
    wanted = "a number" if objectives == 1 else f"{objectives} numbers"
    many = isinstance(given, Sequence) or (objectives > 1 and hasattr(given, "__iter__"))
    several = tuple(given) if many and not isinstance(given, (str, bytes)) else (given,)
    if len(several) != objectives:
        raise ValueError(f"the objective returned {given!r}; it should return {wanted}.")
    try:
        if any(isinstance(v, (str, bytes)) for v in several):
            raise TypeError
        values = tuple(float(v.item() if hasattr(v, "item") else v) for v in several)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"the objective returned {given!r}; it should return {wanted}.") from None
    if not all(map(math.isfinite, values)):
        return Outcome("diverged", message=f"the objective returned {', '.join(map(repr, values))}")
    return Outcome("finished", values)
