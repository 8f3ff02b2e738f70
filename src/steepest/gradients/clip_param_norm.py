"""Clip the norm of each parameter's gradient on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule
from steepest.gradients.clip_norm import clip_factor


@rule
class ClipParamNorm(Rule):
    r"""Shrink the gradient of each parameter whose norm is above a bound; one wild layer leaves the others alone.

    .. math::
        u_j = g_j \cdot \min\left(1, \frac{c}{\lVert g_j \rVert_2 + 10^{-6}}\right) \quad \text{for each tensor } j

    Args:
        max_param_norm: Bound :math:`c` on the Euclidean norm of each tensor. In units of the gradient, in [0, inf].

    Shapes: any. Memory: none.
    Source: ``torch.nn.utils.clip_grad_norm_`` applied to one parameter at a time; the layer-wise form of
    Pascanu, Mikolov and Bengio 2012, arXiv:1211.5063, Algorithm 1.

    Example:
        >>> r, g = ClipParamNorm(0.5), -2.0
        >>> k, _ = r.combine(1, r.start(), [g * g])
        >>> round(r.update(g, r.init(None), None, k)[0], 6)
        -0.5
    """

    reach: ClassVar[Literal["tensor", "group", "model"]] = "tensor"

    max_param_norm: Scalar = hyper(1.0, "[0, inf]")

    class K(NamedTuple):
        factor: Scalar

    def measure(self, g: Any, s: Nothing, p: Any, k: Any) -> tuple[Any]:
        return (g * g,)

    def combine(self, t: Scalar, memory: Nothing, sums: Sequence[Scalar]) -> tuple[K, Nothing]:
        return self.K(clip_factor(sums[0], self.max_param_norm)), memory

    def metrics(self, k: K, sums: Sequence[Scalar]) -> dict[str, Scalar]:
        return {"clipped": 1.0 * (k.factor < 1)}

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return g * k.factor, s


@piece("gradient")
def clip_param_norm(max_param_norm: float = 1.0) -> ClipParamNorm:
    """Scale each parameter's gradient down to the Euclidean norm max_param_norm when it is larger."""
    return ClipParamNorm(max_param_norm)
