"""Noise on the gradient that fades as training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from steepest.core.noise import normal, normals
from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule
from steepest.core.scalar import sqrt


@rule
class GradientNoise(Rule):
    r"""Add annealed Gaussian noise to the gradient.

    .. math:: u_t = g_t + \sigma_t \xi_t, \qquad \sigma_t^2 = \frac{\eta}{t^\gamma}, \qquad \xi \sim N(0, 1)

    with :math:`t = 1, 2, \dots` (the paper counts from 0 and writes :math:`1 + t`). The noise is a pure function of the
    seed, the step, the tensor and the entry: no generator is touched or saved, and a resumed run draws the same.

    Args:
        eta: Variance :math:`\eta` at the first step. In squared units of the gradient, in [0, inf). The paper tries
            0.01, 0.3 and 1.
        gamma: Exponent :math:`\gamma` of the decay. Unitless, in [0, inf).
        noise_seed: A whole number, in [0, 16777215]. Runs with other seeds draw other noise.

    Shapes: any. Memory: one number a tensor (its position in the optimizer). The largest number drawn is 6.8.
    Source: Neelakantan et al. 2015, arXiv:1511.06807, Equation 1; ``optax.add_noise``.

    Example:
        >>> import torch
        >>> r, g = GradientNoise(eta=1.0), torch.zeros(3)
        >>> k, _ = r.combine(1, r.start(), ())
        >>> r.update(g, Nothing(), g, k)[0]
        tensor([-0.0705, -0.0850,  1.1773])
    """

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"
    reads_columns: ClassVar[bool] = True

    eta: Scalar = hyper(0.01, "[0, inf)")
    gamma: Scalar = hyper(0.55, "[0, inf)")
    noise_seed: Scalar = hyper(0, "[0, 16777215]", whole=True)

    class Memory(NamedTuple):
        place: Scalar

    class K(NamedTuple):
        sigma: Any
        seed: Any
        t: Any
        place: Any

    def start(self) -> Memory:
        return self.Memory(0.0)

    def combine(self, t: Scalar, memory: Memory, sums: Sequence[Scalar]) -> tuple[K, Memory]:
        return self.K(sqrt(self.eta / t**self.gamma), self.noise_seed, t, memory.place), memory

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return g + k.sigma * normal(g, k.seed, k.t, k.place).to(g.dtype), s

    def stacked(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return g + k.sigma * normals(g, k.seed, k.t, k.place).to(g.dtype), s


@piece("gradient")
def gradient_noise(eta: float = 0.01, gamma: float = 0.55, noise_seed: int = 0) -> GradientNoise:
    """Add Gaussian noise of variance eta / t**gamma to the gradient. Source: arXiv:1511.06807."""
    return GradientNoise(eta, gamma, noise_seed)
