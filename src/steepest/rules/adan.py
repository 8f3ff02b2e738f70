"""Adan: Nesterov's momentum from differences of gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import where
from steepest.rules.betas import triple
from steepest.rules.learning_rate import LearningRate
from steepest.rules.weight_decay import WeightDecay


@rule
class Adan(Rule):
    r"""Adam that also follows how the gradient changes, and so sees where it is going.

    .. math::
        d_t = g_t - g_{t-1} \quad (d_1 = 0), \qquad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) d_t, \qquad
        n_t = \beta_3 n_{t-1} + (1 - \beta_3) (g_t + \beta_2 d_t)^2

    .. math::
        u_t = \frac{m_t / (1 - \beta_1^t) + \beta_2 v_t / (1 - \beta_2^t)}{\sqrt{n_t / (1 - \beta_3^t)} + \epsilon}

    Args:
        beta1: Weight of the past in the momentum. Unitless, in [0, 1).
        beta2: Weight of the past in the differences. Unitless, in [0, 1). At 0 it is Adam with ``beta1, beta3``.
        beta3: Weight of the past in the squared gradient. Unitless, in [0, 1).
        eps: Keeps the division finite. In units of the gradient, in [0, inf).

    Shapes: ``g``, ``p``, ``u`` and the state share one shape. Memory: 16 bytes a parameter, 4 for the last gradient.
    Units: as :class:`Adam`; the authors take learning rates 5-10 times Adam's.
    Differs from: the paper, whose :math:`\beta` is our :math:`1 - \beta`, and which starts the averages at the first
    gradient where the authors' code and optax start at 0 and correct the bias; as they, we do. optax weighs
    :math:`d_t` and :math:`v_t` by :math:`1 - \beta_2` where the paper and the authors' code have our :math:`\beta_2`.
    Source: Xie et al. 2022, arXiv:2208.06677, Algorithm 1.

    Example:
        >>> rule, p = Adan(), torch.zeros(2)
        >>> u, s = rule.update(torch.tensor([3.0, -0.5]), rule.init(p), p, rule.scalars(1))
        >>> u.round(decimals=4)
        tensor([ 1., -1.])
    """

    beta1: Scalar = hyper(default=0.98, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.92, bounds="[0, 1)")
    beta3: Scalar = hyper(default=0.99, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="[0, inf)")

    class State(NamedTuple):
        m: Tensor
        v: Tensor
        n: Tensor
        g: Tensor

    class K(NamedTuple):
        beta1: Scalar
        beta1_rest: Scalar
        beta2: Scalar
        beta2_rest: Scalar
        beta3: Scalar
        beta3_rest: Scalar
        m_scale: Scalar
        v_scale: Scalar
        n_scale: Scalar
        eps: Scalar
        later: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(torch.zeros_like(p), torch.zeros_like(p), torch.zeros_like(p), torch.zeros_like(p))

    def scalars(self, t: Scalar) -> K:
        return self.K(
            self.beta1,
            1 - self.beta1,
            self.beta2,
            1 - self.beta2,
            self.beta3,
            1 - self.beta3,
            m_scale=1 / (1 - self.beta1**t),
            v_scale=self.beta2 / (1 - self.beta2**t),
            n_scale=(1 - self.beta3**t) ** -0.5,
            eps=self.eps,
            later=where(t == 1, 0.0, 1.0),
        )

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        d = k.later * (g - s.g)
        ahead = g + k.beta2 * d
        m = k.beta1 * s.m + k.beta1_rest * g
        v = k.beta2 * s.v + k.beta2_rest * d
        n = k.beta3 * s.n + k.beta3_rest * (ahead * ahead)
        u = (m * k.m_scale + v * k.v_scale) / (torch.sqrt(n) * k.n_scale + k.eps)
        return u, self.State(m, v, n, g)


@piece("rule")
def adan(
    lr: float = 1e-3,
    betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Chain:
    """Adan with decoupled weight decay (times the learning rate): the authors' code with ``no_prox=True``.

    The paper divides by ``1 + lr * weight_decay`` instead, equal to first order in ``lr * weight_decay``.

    Family: adaptive
    Usual lr: 1e-3 to 2e-2
    Use when: there is memory for twice adam's state and budget to tune; the authors take lr 5-10 times adamw's.
    Not when: memory is short, or a lr tuned for adamw is to be kept.
    Source: arXiv:2208.06677, Algorithm 1.
    """
    return chain(Adan(*triple(betas), eps), WeightDecay(weight_decay), LearningRate(lr))
