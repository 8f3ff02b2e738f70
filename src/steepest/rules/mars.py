"""MARS: variance reduction for any rule with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum, sqrt
from steepest.rules.adam import Adam
from steepest.rules.betas import pair
from steepest.rules.learning_rate import LearningRate
from steepest.rules.sgd import EmaMomentum
from steepest.rules.signsgd import Sign
from steepest.rules.weight_decay import WeightDecay


@rule
class Mars(Rule):
    r"""Add what changed since the last gradient, so that the momentum after it lags less; then clip to norm 1.

    .. math::
        c_t = g_t + \gamma \frac{\beta_1}{1 - \beta_1} (g_t - g_{t-1}), \qquad
        u_t = \frac{c_t}{\max(1, \lVert c_t \rVert)}

    with :math:`g_0 = 0` and the Euclidean norm over one tensor. The momentum that follows must have the same
    :math:`\beta_1`.

    Args:
        gamma: Strength of the correction. Unitless, in [0, inf). At 0 only the clipping remains; at :math:`1-\beta_1`
            the momentum after it is Nesterov's.
        beta1: Weight of the past in the momentum that follows. Unitless, in [0, 1).
        clip: Clip to norm 1.

    Shapes: ``g``, ``u`` and the state share one shape; one norm a tensor. Memory: 4 bytes a parameter, for the last
    gradient. Cost: one more read of both gradients.
    Units: ``u`` is in units of the gradient and at most 1 long: what follows must not care for scale, as Adam's and
    Lion's rules do not.
    Differs from: the paper's exact form, which evaluates the last weights on the new batch (a second backward pass a
    step). This is MARS-approx, with the gradient that the last step had, which the authors recommend: they found the
    exact form little better. timm takes :math:`g_0 = g_1`; as the authors' code and pytorch_optimizer, we do not.
    Source: Yuan et al. 2024, arXiv:2411.10438, Algorithm 1, in the approximate form of Remark 3.3.

    Example:
        >>> rule, p = Mars(gamma=0.5, beta1=0.5), torch.zeros(2)
        >>> s, g = rule.State(g=torch.tensor([0.2, 0.0])), torch.tensor([0.4, 0.2])
        >>> k, _ = rule.combine(2, rule.start(), [float(x.sum()) for x in rule.measure(g, s, p, rule.scalars(2))])
        >>> rule.update(g, s, p, k)[0]
        tensor([0.5000, 0.3000])
    """

    reach: ClassVar[Literal["tensor", "model"]] = "tensor"

    gamma: Scalar = hyper(default=0.025, bounds="[0, inf)")
    beta1: Scalar = hyper(default=0.95, bounds="[0, 1)")
    clip: bool = True

    class State(NamedTuple):
        g: Tensor

    class K(NamedTuple):
        correction: Scalar
        shorten: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(g=torch.zeros_like(p))

    def scalars(self, t: Scalar) -> K:
        return self.K(self.gamma * self.beta1 / (1 - self.beta1), shorten=1.0)

    def measure(self, g: Any, s: State, p: Any, k: K) -> tuple[Any]:
        c = g + k.correction * (g - s.g)
        return (c * c,)

    def combine(self, t: Scalar, memory: Any, sums: Sequence[Scalar]) -> tuple[K, Any]:
        k = self.scalars(t)
        return (k._replace(shorten=1 / maximum(sqrt(sums[0]), 1.0)) if self.clip else k), memory

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        return k.shorten * (g + k.correction * (g - s.g)), self.State(g)


@piece("rule")
def mars_adamw(
    lr: float = 3e-3,
    betas: tuple[float, float] = (0.95, 0.99),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    gamma: float = 0.025,
) -> Chain:
    """AdamW on corrected gradients, with decoupled weight decay (times the learning rate).

    The authors give it matrices alone: ``partition(matrix=mars_adamw(), rest=adamw())``.

    Family: variance reduction
    Usual lr: 1e-3 to 1e-2
    Use when: a language model is trained, adamw is tuned already, and memory for the last gradient is there: with
    ademamix it led one independent comparison at its larger sizes and batches (arXiv:2509.01440).
    Not when: memory is short, or much is expected: in another comparison the rules of matrices were ahead of it, and
    the gain over a tuned adamw was small (arXiv:2509.02046).
    Source: arXiv:2411.10438, Algorithm 2 (MARS-AdamW).
    """
    beta1, beta2 = pair(betas)
    return chain(Mars(gamma, beta1), Adam(beta1, beta2, eps), WeightDecay(weight_decay), LearningRate(lr))


@piece("rule")
def mars_lion(lr: float = 3e-4, beta: float = 0.95, weight_decay: float = 0.0, gamma: float = 0.025) -> Chain:
    """The sign of momentum of corrected gradients, with decoupled weight decay (times the learning rate).

    The authors give it matrices alone: ``partition(matrix=mars_lion(), rest=adamw())``.

    Family: variance reduction
    Usual lr: 1e-4 to 1e-3
    Use when: lion or signum would be used and the gradient is noisy; it keeps as much as adamw does.
    Not when: memory is why lion was chosen: this doubles its state.
    Source: arXiv:2411.10438, Algorithm 3 (MARS-Lion).
    """
    return chain(Mars(gamma, beta), EmaMomentum(beta), Sign(), WeightDecay(weight_decay), LearningRate(lr))
