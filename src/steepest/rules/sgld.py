"""Stochastic gradient Langevin dynamics: gradient descent that samples instead of settling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from steepest.core.chain import Chain, chain
from steepest.core.noise import normal, normals
from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule
from steepest.core.scalar import sqrt
from steepest.rules.weight_decay import WeightDecay


@rule
class Langevin(Rule):
    r"""A gradient step and as much noise as makes the weights wander over :math:`e^{-f / T}`.

    .. math::
        u_t = \eta g_t - \sqrt{2 \eta T}\, \xi_t, \qquad \xi_t \sim N(0, 1)

    Args:
        lr: Learning rate :math:`\eta`. In units of parameter per unit of gradient, in [0, inf).
        temperature: :math:`T`, in units of the loss, in [0, inf). For a loss that is the mean over :math:`N` examples
            of the negative log-likelihood, :math:`1/N` samples the posterior. At 0 it is gradient descent.
        noise_seed: A whole number, in [0, 16777215]. Runs with other seeds draw other noise.

    Shapes: any. Memory: one number a tensor (its position in the optimizer).
    Units: ``u`` is in units of the parameter.
    Differs from: the paper in letters only: its step :math:`\epsilon_t` is :math:`2 \eta`, its gradient that of the sum
    over examples. As with :func:`gradient_noise`, the noise is a function of seed, step, tensor and entry, so that a
    resumed run draws the same.
    Source: Welling and Teh 2011, Bayesian Learning via Stochastic Gradient Langevin Dynamics, ICML.

    Example:
        >>> import torch
        >>> r, g = Langevin(lr=0.5, temperature=0.0), torch.tensor([1.0, -2.0])
        >>> r.update(g, Nothing(), g, r.combine(1, r.start(), ())[0])[0]
        tensor([ 0.5000, -1.0000])
    """

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"
    reads_columns: ClassVar[bool] = True

    lr: Scalar = hyper(default=1e-3, bounds="[0, inf)")
    temperature: Scalar = hyper(default=1e-4, bounds="[0, inf)")
    noise_seed: Scalar = hyper(default=0, bounds="[0, 16777215]", whole=True)

    class Memory(NamedTuple):
        place: Scalar

    class K(NamedTuple):
        lr: Scalar
        sigma: Scalar
        seed: Scalar
        t: Scalar
        place: Scalar

    def start(self) -> Memory:
        return self.Memory(0.0)

    def combine(self, t: Scalar, memory: Memory, sums: Sequence[Scalar]) -> tuple[K, Memory]:
        return self.K(self.lr, sqrt(2 * self.lr * self.temperature), self.noise_seed, t, memory.place), memory

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return k.lr * g - k.sigma * normal(g, k.seed, k.t, k.place).to(g.dtype), s

    def stacked(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return k.lr * g - k.sigma * normals(g, k.seed, k.t, k.place).to(g.dtype), s


@piece("rule")
def sgld(lr: float = 1e-3, temperature: float = 1e-4, weight_decay: float = 0.0, noise_seed: int = 0) -> Chain:
    """Gradient descent with Langevin noise, and an L2 penalty (a Gaussian prior).

    Family: sampling
    Usual lr: 1e-5 to 1e-1
    Use when: many sets of weights are wanted instead of one, to average their predictions; keep some along the way.
    Not when: one set is wanted: the noise never lets it settle.
    Source: Welling and Teh 2011, ICML.
    """
    return chain(WeightDecay(weight_decay), Langevin(lr, temperature, noise_seed))
