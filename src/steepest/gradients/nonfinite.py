"""What to do with a gradient that holds NaN or Inf."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor

from steepest.core.errors import HyperparameterError, did_you_mean
from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, rule

Action = Literal["skip", "raise", "pass"]


@rule
class NonFinite(Rule):
    r"""Look at the gradient and refuse the step when its norm is not finite; the gradient itself passes unchanged.

    Args:
        action: ``"skip"``: the step is not taken; parameters, state and schedules stay as they are.
            ``"raise"``: the optimizer stops with :class:`~steepest.core.errors.NonFiniteError`.
            ``"pass"``: nothing is refused; the norm is only reported.

    Shapes: any. Memory: none. Cost: one read of the gradients, none where a norm is computed anyway.
    It sees the gradient where it stands in the chain: behind :class:`~steepest.gradients.ClipValue` an infinite entry
    has already become a finite one.

    Example:
        >>> NonFinite("skip").accepts([4.0]), NonFinite("skip").accepts([float("nan")])
        (True, False)
        >>> NonFinite("pass").accepts([float("inf")])
        True
    """

    action: Action = "skip"

    transparent: ClassVar[bool] = True

    def measure(self, g: Any, s: Nothing, p: Any, k: Nothing) -> tuple[Any]:
        return (g * g,)

    def accepts(self, sums: Sequence[float]) -> bool:
        return self.action == "pass" or math.isfinite(sums[0])

    def accepts_all(self, sums: Tensor) -> bool:
        """Whether the sums of many members, a row each, are all accepted."""
        return self.action == "pass" or bool(sums[:, 0].isfinite().all())

    @property
    def refusal(self) -> Literal["skip", "raise"]:
        return "raise" if self.action == "raise" else "skip"

    def metrics(self, k: Nothing, sums: Sequence[float]) -> dict[str, float]:
        return {"grad_norm": float(sums[0] ** 0.5)}

    def update(self, g: Any, s: Nothing, p: Any, k: Nothing) -> tuple[Any, Nothing]:
        return g, s


@piece("gradient")
def nonfinite(action: Action = "skip") -> NonFinite:
    """Skip, raise at, or let pass a step whose gradient norm is not finite."""
    actions = get_args(Action)
    if action not in actions:
        raise HyperparameterError(
            f"nonfinite: action must be one of {', '.join(map(repr, actions))}, got {action!r}."
            + (f" {did_you_mean(action, actions)}" if isinstance(action, str) else "")
        )
    return NonFinite(action)
