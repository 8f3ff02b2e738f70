"""Where a run is left before its end: to be taken up again, or because others were better by then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Left = Literal["paused", "halted"]
"""``"paused"``: the step was reached, a checkpoint is there. ``"halted"``: the best so far was beyond a limit."""


@dataclass(frozen=True)
class Leave:
    """When a run is left. Nothing of what it has computed depends on this, so it may go on with another one.

    Args:
        at: After so many steps; None: at its end.
        limits: (step, value): it ends at an evaluation at this step, where the best value so far is worse.
    """

    at: int | None = None
    limits: tuple[tuple[int, float], ...] = ()

    def __bool__(self) -> bool:
        return self.at is not None or bool(self.limits)

    def left(self, step: int, best: float | None, goal: str) -> Left | None:
        """Whether a run at this step, whose best value is this, is left now.

        >>> leave = Leave(at=30, limits=((10, 0.5),))
        >>> leave.left(10, 0.6, "min"), leave.left(10, 0.6, "max"), leave.left(30, 0.4, "min")
        ('halted', None, 'paused')
        """
        for at, limit in self.limits:
            if at == step and (best is None or (best > limit if goal == "min" else best < limit)):
                return "halted"
        return "paused" if self.at is not None and step >= self.at else None

    def words(self, left: Left, step: int, steps: int) -> str:
        """Why, for a result."""
        if left == "paused":
            return f"paused at step {step} of {steps}"
        limit = next(limit for at, limit in self.limits if at == step)
        return f"ended at step {step} of {steps}: nothing so far was as good as {limit:.4g}"

    def record(self) -> dict[str, Any]:
        """Plain data."""
        return {"at": self.at, "limits": [list(pair) for pair in self.limits]}

    @classmethod
    def read(cls, record: Mapping[str, Any] | None) -> Leave:
        """From :meth:`record`."""
        return NEVER if record is None else cls(record["at"], tuple((int(s), float(x)) for s, x in record["limits"]))


NEVER = Leave()
