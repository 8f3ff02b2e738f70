"""StableAdamW: AdamW that slows down where its divisor is out of date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum, sqrt
from steepest.rules.adam import adam_scalars
from steepest.rules.betas import pair
from steepest.rules.learning_rate import LearningRate


@rule
class StableAdamW(Rule):
    r"""AdamW with Adafactor's update clipping: gradients much larger than :math:`v` expects shorten the tensor's step.

    .. math::
        m_t, v_t \text{ as Adam's}, \qquad
        \hat m_t = \frac{m_t}{1 - \beta_1^t}, \qquad \hat v_t = \frac{v_t}{1 - \beta_2^t}, \qquad
        \mathrm{RMS}_t = \sqrt{\operatorname{mean}\left(\frac{g_t^2}{\max(\hat v_t, \epsilon^2)}\right)}

    .. math::
        u_t = \frac{1}{\max(1, \mathrm{RMS}_t)}
        \left(\frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon} + \lambda p\right)

    with the mean over one tensor.

    Args:
        beta1: Weight of the past in the momentum. Unitless, in [0, 1).
        beta2: Weight of the past in the squared gradient. Unitless, in [0, 1).
        eps: Keeps the divisions finite. In units of the gradient, in [0, inf).
        weight_decay: Strength :math:`\lambda`, in [0, inf). It is part of the rule because it is shortened with it.

    Shapes: ``g``, ``p``, ``u``, ``m`` and ``v`` share one shape; one mean a tensor. Memory: 8 bytes a parameter. Cost:
    one more read of gradient and :math:`v`.
    Units: as :class:`Adam`.
    Differs from: the paper and peers in form only: they put the bias correction into the weights of the averages
    (:math:`\hat\beta_t = \beta \frac{1 - \beta^{t-1}}{1 - \beta^t}`), which makes the same :math:`\hat m, \hat v`.
    Source: Wortsman et al. 2023, arXiv:2304.13013; the clipping is Shazeer and Stern 2018,
    arXiv:1804.04235, section 6.

    Example:
        >>> rule, p, g = StableAdamW(), torch.zeros(2), torch.tensor([3.0, -0.5])
        >>> s, k = rule.init(p), rule.scalars(1)
        >>> k, _ = rule.combine(1, rule.start(), [float(x.sum()) for x in rule.measure(g, s, p, k)])
        >>> rule.update(g, s, p, k)[0]
        tensor([ 1., -1.])
    """

    reach: ClassVar[Literal["tensor", "model"]] = "tensor"

    beta1: Scalar = hyper(default=0.9, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.99, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="[0, inf)")
    weight_decay: Scalar = hyper(default=0.0, bounds="[0, inf)")

    class State(NamedTuple):
        m: Tensor
        v: Tensor

    class K(NamedTuple):
        beta1: Scalar
        beta1_rest: Scalar
        beta2: Scalar
        beta2_rest: Scalar
        m_scale: Scalar
        v_scale: Scalar
        eps: Scalar
        smallest: Scalar
        weight_decay: Scalar
        shorten: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(m=torch.zeros_like(p), v=torch.zeros_like(p))

    def scalars(self, t: Scalar) -> K:
        k = adam_scalars(self.beta1, self.beta2, self.eps, t)
        return self.K(*k, smallest=self.eps**2, weight_decay=self.weight_decay, shorten=1.0)

    def measure(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, Any]:
        v = (k.beta2 * s.v + k.beta2_rest * (g * g)) * (k.v_scale * k.v_scale)
        v = torch.clamp(v, min=k.smallest)
        return g * g / torch.where(v == 0, 1.0, v), torch.ones_like(g)

    def combine(self, t: Scalar, memory: Any, sums: Sequence[Scalar]) -> tuple[K, Any]:
        rms = sqrt(sums[0] / maximum(sums[1], 1.0))  # an empty tensor has no mean
        return self.scalars(t)._replace(shorten=1 / maximum(rms, 1.0)), memory

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        m = k.beta1 * s.m + k.beta1_rest * g
        v = k.beta2 * s.v + k.beta2_rest * (g * g)
        u = (m * k.m_scale) / (torch.sqrt(v) * k.v_scale + k.eps) + k.weight_decay * p
        return k.shorten * u, self.State(m, v)


@piece("rule")
def stable_adamw(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.99),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> Chain:
    """AdamW with update clipping: each tensor has its own learning rate, below ``lr`` while its gradient surprises.

    No gradient clipping is needed beside it.

    Family: adaptive
    Usual lr: 1e-4 to 1e-2
    Use when: training with adamw has loss spikes, as large models in low precision do: the clipping acts where a spike
    begins, in tensors whose gradients outgrow their average (arXiv:2304.13013).
    Not when: training is stable already: it is adamw with shorter first steps.
    Source: arXiv:2304.13013.
    """
    return chain(StableAdamW(*pair(betas), eps, weight_decay), LearningRate(lr))
