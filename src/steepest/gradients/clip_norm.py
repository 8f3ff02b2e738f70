"""Clip the norm of the whole gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule

EPS = 1e-6
"""Added to the norm before the division, as torch does: a clipped norm is ``EPS / norm`` below the bound."""


def clip_factor(square: Scalar, bound: Scalar) -> Scalar:
    """``min(1, bound / (sqrt(square) + EPS))``; not-a-number stays not-a-number, as in torch.

    >>> clip_factor(0.25, 1.0), round(clip_factor(4.0, 1.0), 6)
    (1.0, 0.5)
    """
    if isinstance(square, Tensor) or isinstance(bound, Tensor):
        return torch.clamp(bound / (square**0.5 + EPS), max=1.0)
    factor = bound / (float(square) ** 0.5 + EPS)
    return 1.0 if factor >= 1.0 else factor


@rule
class ClipNorm(Rule):
    r"""Shrink the whole gradient when its norm is above a bound; the direction stays.

    .. math::
        u = g \cdot \min\left(1, \frac{c}{N + 10^{-6}}\right), \qquad N = \sqrt{\textstyle\sum_{\text{model}} g_i^2}

    Args:
        max_norm: Bound :math:`c` on the Euclidean norm over all parameters. In units of the gradient, in [0, inf];
            inf clips nothing and still reports the norm.

    Shapes: any. Memory: none. Cost: one read of the gradients; the product is folded into the update.
    Differs from: ``torch.nn.utils.clip_grad_norm_`` only in that the squares are summed in float64 over all tensors, so
    half-precision gradients do not overflow to an infinite norm (and, in torch, to a silent zero).
    Source: Pascanu, Mikolov and Bengio 2012, arXiv:1211.5063, Algorithm 1.

    Example:
        >>> r, g = ClipNorm(1.0), 4.0
        >>> k, _ = r.combine(1, r.start(), [g * g])
        >>> round(r.update(g, r.init(None), None, k)[0], 6)
        1.0
        >>> r.metrics(k, [g * g])["grad_norm"]
        4.0
    """

    max_norm: Scalar = hyper(1.0, "[0, inf]")

    class K(NamedTuple):
        factor: Scalar

    def measure(self, g: Any, s: Nothing, p: Any, k: Any) -> tuple[Any]:
        return (g * g,)

    def combine(self, t: Scalar, memory: Nothing, sums: Sequence[Scalar]) -> tuple[K, Nothing]:
        return self.K(clip_factor(sums[0], self.max_norm)), memory

    def metrics(self, k: K, sums: Sequence[float]) -> dict[str, float]:
        return {"grad_norm": float(sums[0] ** 0.5), "clip_factor": float(k.factor)}

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return g * k.factor, s


@piece("gradient")
def clip_norm(max_norm: float = 1.0) -> ClipNorm:
    """Scale the whole gradient down to the Euclidean norm max_norm when it is larger. Source: arXiv:1211.5063."""
    return ClipNorm(max_norm)
