"""What weights and state are kept in, as a piece of a strategy."""

from __future__ import annotations

from typing import Literal

from steepest.core.piece import piece
from steepest.core.precision import Precision, PrecisionError, Rounding, State, as_precision

Name = Literal["same", "float32_state", "kahan", "stochastic", "8bit", "compact"]


@piece("precision")
def precision(
    kept: Name = "same", *, state: State | None = None, rounding: Rounding | None = None, seed: int = 0
) -> Precision:
    """What weights and state are kept in between steps, by name, or as a pair of state and rounding.

    Args:
        kept: ``"same"``, ``"float32_state"``, ``"kahan"``, ``"stochastic"``, ``"8bit"`` or ``"compact"``.
        state: ``"same"`` type as the weights, ``"float32"``, ``"bfloat16"`` or ``"8bit"``; in place of a name.
        rounding: Of 16-bit weights: ``"nearest"``, ``"stochastic"``, ``"kahan"`` or ``"split"``; in place of a name.
        seed: Of stochastic rounding.

    Use when: memory is short ("8bit", "compact"), or weights are kept in 16 bits (anything but "same").
    Not when: weights are in float32 and there is room: "same" is what torch does.
    """
    named = as_precision(kept)
    if state is None and rounding is None:
        return Precision(named.state, named.rounding, seed)
    if kept != "same":
        raise PrecisionError(f"precision: {kept!r} says state and rounding already; leave one of them away.")
    return Precision(state or "same", rounding or "nearest", seed)
