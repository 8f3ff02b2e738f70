"""Sequence: schedules one after the other, each on its own clock."""

from __future__ import annotations

import functools
from collections.abc import Sequence as Sequence_
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

from steepest.core.errors import HyperparameterError
from steepest.core.piece import Piece, piece
from steepest.schedules.base import By, Clock, ClockError, Duration, Schedule, part, schedule
from steepest.schedules.multistep import moments


class Leg(NamedTuple):
    """One part of a sequence: where it starts, its own clock, and the factor it is multiplied by."""

    start: int
    clock: Clock
    carry: float


@schedule
class Sequence(Schedule):
    r"""One schedule up to a moment, then the next.

    .. math::
        f(t) = c_i h_i(t - m_i) \text{ for } m_i \le t < m_{i+1}, \qquad
        c_i = c_{i-1} \frac{h_{i-1}(m_i - m_{i-1})}{h_i(0)}

    Each part counts from its own start, and its total is its own length. There is no jump unless asked for: a part
    starts at the value that the one before has reached (:math:`c_0 = 1`).

    Args:
        parts: The schedules :math:`h_0, h_1, \dots`
        at: Where each part but the first starts: :math:`m_1 < m_2 < \dots`
        restart: True: every part starts from its own first value (:math:`c_i = 1`), with a jump where they differ.

    A part that ends at 0 would leave 0 to all that follow, and a part that starts at 0 cannot start elsewhere: both are
    errors that say so before training. So is a part that would rise above all before it, as a warm-up that is scaled to
    start at the value reached: warm-up belongs in the first place, or in a sequence with ``restart=True``.

    Differs from: ``torch.optim.lr_scheduler.SequentialLR``, whose parts step each other when nested and resume wrongly.
    It always restarts; ``restart=True`` agrees with it where it is right.

    Example:
        >>> from steepest.schedules import Linear, Step
        >>> Sequence((Linear(1.0, 0.5), Step(every=2, gamma=0.5)), at=(2,)).values(6)
        [1.0, 0.75, 0.5, 0.5, 0.25, 0.25]
        >>> Sequence((Linear(1.0, 0.5), Step(every=2, gamma=0.5)), at=(2,), restart=True).values(6)
        [1.0, 0.75, 1.0, 1.0, 0.5, 0.5]
    """

    parts: tuple[Schedule, ...]
    at: Sequence_[Duration]
    restart: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(part(self.name, p, self.on) for p in self.parts))
        object.__setattr__(self, "at", moments(self.name, self.at))
        if not self.parts:
            raise HyperparameterError("sequence needs schedules: sequence(cosine(end=0.1), step(every=30), at=(50,)).")
        if len(self.at) != len(self.parts) - 1:
            n = len(self.parts)
            raise HyperparameterError(
                f"sequence: {n} part{'s meet' if n > 1 else ' meets'} at {n - 1} moment{'s' if n != 2 else ''}; "
                f"at={self.at} has {len(self.at)}. "
                "Say when each later part begins, e.g. at=(0.5,) for half of the run or at=(100,) for step 100."
            )
        if not isinstance(self.restart, bool):
            raise HyperparameterError(f"sequence: restart is True or False; got {self.restart!r}.")
        super().__post_init__()
        with suppress(ClockError):  # where lengths are known already, a joint that cannot hold is refused at once
            legs(self, Clock())

    def curve(self, t: int, clock: Clock) -> float:
        plan = legs(self, clock)
        i = max(i for i, leg in enumerate(plan) if t >= leg.start)
        start, local, carry = plan[i]
        return carry * self.parts[i].factor(t - start, local)


def peak(schedule: Schedule, clock: Clock) -> float:
    """About the highest factor of a schedule, from powers of two and 33 even steps of its clock.

    >>> from steepest.schedules import Warmup
    >>> peak(Warmup(100), Clock(total=1000))
    1.0
    """
    n = clock.total or 1_000_000
    steps = {i * (n - 1) // 32 for i in range(33)} | {2**k for k in range(n.bit_length() - 1)}
    return max(schedule.factor(t, clock) for t in steps)


@functools.lru_cache(maxsize=256)
def legs(sequence: Sequence, clock: Clock) -> tuple[Leg, ...]:
    """The parts of a sequence on a clock; parts that training never reaches are left out."""
    starts = [0, *(clock.steps(m, sequence.name) for m in sequence.at)]
    for a, b in pairwise(starts):
        if a >= b:
            raise HyperparameterError(f"sequence: at={sequence.at} must increase; in steps it is {starts[1:]}.")
    found: list[Leg] = []
    ceiling = 1.0
    for i, (start, end) in enumerate(zip(starts, [*starts[1:], None], strict=True)):
        if clock.total is not None and start >= clock.total:
            break
        local = clock.local(start, end)
        carry = 1.0
        if found and not sequence.restart:
            before, length = found[-1], start - found[-1].start
            last = before.carry * sequence.parts[i - 1].factor(length, before.clock)
            first = sequence.parts[i].factor(0, local)
            for verb, which, value in (("ends", i - 1, last), ("starts", i, first)):
                if value == 0:
                    raise HyperparameterError(
                        f"sequence: {sequence.parts[which].name} {verb} at 0 where the two meet (step {start}), so "
                        "nothing can go on from there. Give it another value there such as end=0.1, or let each part "
                        "start anew: sequence(..., restart=True)."
                    )
            carry = last / first
            if (top := carry * peak(sequence.parts[i], local)) > 1.01 * ceiling:
                raise HyperparameterError(
                    f"sequence: {sequence.parts[i].name} rises from where it starts, and starting at {last:.3g} (step "
                    f"{start}) it would reach {top:.3g} times the base. Warm-up belongs in the first place; elsewhere "
                    "let each part start anew: sequence(..., restart=True)."
                )
        ceiling = max(ceiling, carry * peak(sequence.parts[i], local))
        found.append(Leg(start, local, carry))
    return tuple(found)


@piece("schedule")
def sequence(
    *parts: Piece | Schedule, at: Sequence_[Duration] = (), restart: bool = False, by: By = "step", on: str = "lr"
) -> Schedule:
    """Schedules one after the other, each on its own clock, without a jump unless ``restart``."""
    return Sequence(parts, at, restart, by=by, on=on)  # type: ignore[arg-type]
