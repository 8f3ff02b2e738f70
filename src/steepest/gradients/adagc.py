"""Clip the norm of each parameter's gradient relative to its own past."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum, minimum, where
from steepest.gradients.clip_norm import clip_factor
from steepest.gradients.history import finite

TINY = 1e-300
"""Keeps a zero norm from dividing."""


@rule
class ClipNormAtFirst(Rule):
    r"""Clip the whole gradient like :class:`~steepest.gradients.ClipNorm`, but only before step ``warmup_steps``.

    .. math:: u = g \cdot \min(1, \lambda / (N + 10^{-6})) \text{ for } t < T, \text{ else } g

    Args:
        lambda_abs: Bound :math:`\lambda` on the norm over all parameters. In units of the gradient, in [0, inf].
        warmup_steps: :math:`T`. In steps, at least 0.

    Shapes: any. Memory: none.
    Source: Wang et al. 2025, arXiv:2502.11034, Algorithm 1, its warm-up.

    Example:
        >>> r = ClipNormAtFirst(1.0, warmup_steps=3)
        >>> [round(r.combine(t, r.start(), [4.0])[0].factor, 3) for t in (1, 2, 3, 4)]
        [0.5, 0.5, 1.0, 1.0]
    """

    lambda_abs: Scalar = hyper(1.0, "[0, inf]")
    warmup_steps: Scalar = hyper(100, "[0, inf)", whole=True)

    class K(NamedTuple):
        factor: Scalar

    def measure(self, g: Any, s: Nothing, p: Any, k: Any) -> tuple[Any]:
        return (g * g,)

    def combine(self, t: Scalar, memory: Nothing, sums: Sequence[Scalar]) -> tuple[K, Nothing]:
        return self.K(clip_factor(sums[0], where(t < self.warmup_steps, self.lambda_abs, math.inf))), memory

    def metrics(self, k: K, sums: Sequence[float]) -> dict[str, float]:
        return {"grad_norm": float(sums[0] ** 0.5), "clip_factor": float(k.factor)}

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return g * k.factor, s


@rule
class AdaGC(Rule):
    r"""Keep the gradient norm of each parameter near the running mean of its own clipped norms.

    .. math::
        u_j = h g_j, \qquad h = \min\left(1, \frac{\lambda \gamma_{t-1}}{\lVert g_j \rVert}\right), \qquad
        \gamma_t = \beta \gamma_{t-1} + (1 - \beta) \lVert u_j \rVert

    and before step :math:`T` only :math:`\gamma_t = \min(\gamma_{t-1}, \lVert g_j \rVert)`, with :math:`h = 1`.

    Args:
        lambda_rel: :math:`\lambda`, by how much a norm may exceed the mean. Unitless, in (0, inf).
        beta: Decay of the mean. Unitless, in [0, 1).
        warmup_steps: :math:`T`. In steps, at least 0.

    Shapes: any. Memory: one number a tensor.
    Differs from: the paper, where a parameter whose gradient is once zero in the warm-up (the first factor of a
    low-rank adapter, an expert that no token met) has :math:`\gamma = 0` and never moves again. Here a norm that is
    zero, or not finite, is not remembered. The defaults are those of the authors' code (``lishuai-97/AdaGC``), whose
    warm-up lasts one step longer than the algorithm's :math:`t < T`, which is followed here.
    Source: Wang et al. 2025, arXiv:2502.11034, Algorithm 1.

    Example:
        >>> r = AdaGC(lambda_rel=1.0, beta=0.5, warmup_steps=0)
        >>> k, memory = r.combine(1, r.start(), [4.0])
        >>> k, memory = r.combine(2, memory, [64.0])
        >>> k.factor, memory.gamma
        (0.25, 2.0)
    """

    reach: ClassVar[Literal["tensor", "group", "model"]] = "tensor"

    lambda_rel: Scalar = hyper(1.04, "(0, inf)")
    beta: Scalar = hyper(0.99, "[0, 1)")
    warmup_steps: Scalar = hyper(100, "[0, inf)", whole=True)

    class Memory(NamedTuple):
        gamma: Scalar

    class K(NamedTuple):
        factor: Scalar

    def start(self) -> Memory:
        return self.Memory(math.inf)

    def measure(self, g: Any, s: Nothing, p: Any, k: Any) -> tuple[Any]:
        return (g * g,)

    def combine(self, t: Scalar, memory: Memory, sums: Sequence[Scalar]) -> tuple[K, Memory]:
        norm, gamma, warm = sums[0] ** 0.5, memory.gamma, t < self.warmup_steps
        factor = minimum(1.0, where(warm, math.inf, self.lambda_rel * gamma) / maximum(norm, TINY))
        clipped = factor * norm
        new = where(warm, minimum(gamma, clipped), self.beta * gamma + (1 - self.beta) * clipped)
        new = where(finite(gamma), new, clipped)
        return self.K(factor), self.Memory(where(finite(norm) & (norm > 0), new, gamma))

    def metrics(self, k: K, sums: Sequence[Scalar]) -> dict[str, Scalar]:
        return {"clipped": 1.0 * (k.factor < 1)}

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return g * k.factor, s


@piece("gradient")
def adagc(lambda_rel: float = 1.04, beta: float = 0.99, lambda_abs: float = 1.0, warmup_steps: int = 100) -> Chain:
    """Clip each parameter's gradient relative to the mean of its past norms. Source: arXiv:2502.11034, Algorithm 1."""
    return chain(ClipNormAtFirst(lambda_abs, warmup_steps), AdaGC(lambda_rel, beta, warmup_steps))
