"""Clip every entry of the gradient to an interval."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule


@rule
class ClipValue(Rule):
    r"""Clamp the entries: :math:`u_i = \min(\max(g_i, -c), c)`. It changes the direction; norm clipping does not.

    Args:
        max_value: Bound :math:`c`. In units of the gradient, in [0, inf].

    Shapes: any. Memory: none.
    Not-a-number stays not-a-number, but an infinite entry becomes :math:`\pm c`: a guard must stand before this link.
    Source: Mikolov 2012 (PhD thesis, Brno); ``torch.nn.utils.clip_grad_value_``.

    Example:
        >>> r = ClipValue(1.0)
        >>> r.update(torch.tensor([-3.0, 0.5, 2.0]), r.init(None), None, r.scalars(1))[0]
        tensor([-1.0000,  0.5000,  1.0000])
    """

    max_value: Scalar = hyper(1.0, "[0, inf]")

    class K(NamedTuple):
        low: Any
        high: Any

    def scalars(self, t: Scalar) -> K:
        return self.K(-self.max_value, self.max_value)

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return torch.clamp(g, k.low, k.high), s


@piece("gradient")
def clip_value(max_value: float = 1.0) -> ClipValue:
    """Clamp every entry of the gradient to [-max_value, max_value]."""
    return ClipValue(max_value)
