"""Adaptive SAM: a neighbourhood that scales with the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule
from steepest.core.scalar import sqrt
from steepest.core.wrapper import Wrapper
from steepest.wrappers.sharpness import Sharpness


@rule
class AdaptiveClimb(Rule):
    r"""Go uphill by a fixed distance, measured in multiples of each weight.

    .. math::
        T = |p| + \eta, \qquad u = -\rho\, \frac{T^2 g}{\lVert T g \rVert + \epsilon}

    with the norm over the whole model. With :math:`\eta = 0` a rescaling of the weights that leaves the loss as it is
    (a layer times 2, the next one times 1/2) rescales the perturbation alike.

    Args:
        rho: Length :math:`\rho` of the step in units of :math:`T`, in [0, inf).
        eta: Added to the size of the weights :math:`\eta`, in their units, in [0, inf).
        eps: Added to the norm, in [0, inf).

    Shapes: any. Memory: 4 bytes a parameter, between the two gradients of a step. Cost: as SAM's.
    Differs from: the authors' code, which takes :math:`T = 1` for parameters whose name lacks "weight" (this is the
    paper's element-wise operator on all of them); pytorch_optimizer and davda54's sam, where :math:`\eta = 0`.
    Source: Kwon et al. 2021, arXiv:2102.11600.

    Example:
        >>> import torch
        >>> r, p, g = AdaptiveClimb(0.5, eta=0.0), torch.tensor([3.0, 4.0]), torch.ones(2)
        >>> k, _ = r.combine(1, r.start(), [float(x.sum()) for x in r.measure(g, r.init(p), p, r.scalars(1))])
        >>> p - r.update(g, r.init(p), p, k)[0]
        tensor([3.9000, 5.6000])
    """

    rho: Scalar = hyper(default=0.5, bounds="[0, inf)")
    eta: Scalar = hyper(default=0.01, bounds="[0, inf)")
    eps: Scalar = hyper(default=1e-12, bounds="[0, inf)")

    class State(NamedTuple):
        start: Tensor

    class K(NamedTuple):
        eta: Scalar
        scale: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(p.clone())

    def scalars(self, t: Scalar) -> K:
        return self.K(self.eta, 0.0)

    def measure(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, ...]:
        tg = (abs(p) + k.eta) * g
        return (tg * tg,)

    def combine(self, t: Scalar, memory: Nothing, sums: Sequence[Scalar]) -> tuple[K, Nothing]:
        return self.K(self.eta, self.rho / (sqrt(sums[0]) + self.eps)), memory

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        size = abs(p) + k.eta
        return -(k.scale * (size * size * g)), self.State(p)


@piece("wrapper")
def asam(rho: float = 0.5, eta: float = 0.01) -> Wrapper:
    """SAM in a neighbourhood whose width in each direction is the size of the weight; two gradients a step.

    Args:
        rho: Radius, relative to the weights; ten times SAM's.
        eta: Added to the size of the weights, so that a weight of 0 is perturbed too.

    Use when: as SAM, and layers differ in scale; one rho then serves more models.
    Not when: compute is short and data plenty.
    Source: arXiv:2102.11600.
    """
    return Sharpness(AdaptiveClimb(rho, eta))
