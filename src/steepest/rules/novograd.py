"""NovoGrad: momentum of gradients that each tensor has divided by their recent length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule
from steepest.core.scalar import sqrt, where
from steepest.rules.betas import pair
from steepest.rules.learning_rate import LearningRate
from steepest.rules.sgd import HeavyBall
from steepest.rules.weight_decay import WeightDecay


@rule
class NovoGrad(Rule):
    r"""Divide the gradient of each tensor by its recent length: Adam's second moment as one number a tensor.

    .. math::
        v_1 = \lVert g_1 \rVert^2, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) \lVert g_t \rVert^2, \qquad
        u_t = \frac{g_t}{\sqrt{v_t} + \epsilon}

    with Euclidean norms over one tensor.

    Args:
        beta2: Weight of the past in the squared length. Unitless, in [0, 1).
        eps: Keeps the division finite. In units of the gradient, in [0, inf).

    Shapes: any. Memory: one number a tensor. Cost: one more read of the gradient.
    Units: ``u`` is unitless and about 1 long as a whole tensor, so its entries are small: learning rates are larger
    than Adam's.
    Source: Ginsburg et al. 2019, arXiv:1905.11286 (the momentum is a link of its own).

    Example:
        >>> import torch
        >>> r, g = NovoGrad(), torch.tensor([3.0, -4.0])
        >>> k, memory = r.combine(1, r.start(), [float((g * g).sum())])
        >>> r.update(g, r.init(g), g, k)[0], memory.v
        (tensor([ 0.6000, -0.8000]), 25.0)
    """

    reach: ClassVar[Literal["tensor", "model"]] = "tensor"

    beta2: Scalar = hyper(default=0.98, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="[0, inf)")

    class Memory(NamedTuple):
        v: Scalar

    class K(NamedTuple):
        divisor: Scalar

    def start(self) -> Memory:
        return self.Memory(v=0.0)

    def measure(self, g: Any, s: Nothing, p: Any, k: Any) -> tuple[Any]:
        return (g * g,)

    def combine(self, t: Scalar, memory: Memory, sums: Sequence[Scalar]) -> tuple[K, Memory]:
        v = where(t == 1, sums[0], self.beta2 * memory.v + (1 - self.beta2) * sums[0])
        divisor = sqrt(v) + self.eps
        return self.K(where(divisor == 0, 1.0, divisor)), self.Memory(v)

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return g / k.divisor, s


@piece("rule")
def novograd(
    lr: float = 1e-2,
    betas: tuple[float, float] = (0.95, 0.98),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    grad_averaging: bool = False,
) -> Chain:
    """Heavy-ball momentum of layer-wise normalised gradients plus weight decay, at the memory of SGD with momentum.

    The decay is inside the momentum, as in the paper. ``grad_averaging=True`` averages in it instead of summing, so
    that steps are ``1 - beta1`` times as long.

    Family: layerwise
    Usual lr: 1e-3 to 1e-1
    Use when: speech or image models are trained in large batches with half of adam's memory (arXiv:1905.11286).
    Not when: entries of one tensor differ much in the size of their gradients, as in embeddings.
    Source: arXiv:1905.11286.
    """
    beta1, beta2 = pair(betas)
    ball = HeavyBall(beta1, dampening=beta1 if grad_averaging else 0.0)
    return chain(NovoGrad(beta2, eps), WeightDecay(weight_decay), ball, LearningRate(lr))
