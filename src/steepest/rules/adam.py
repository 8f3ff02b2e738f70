"""Adam, AdamW and AMSGrad: a momentum divided by the recent size of the gradient."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.rules.betas import pair
from steepest.rules.learning_rate import LearningRate
from steepest.rules.weight_decay import WeightDecay


class AdamScalars(NamedTuple):
    """The numbers of one step; the bias corrections multiply, so that no entry pays for a division by them."""

    beta1: Scalar
    beta1_rest: Scalar
    beta2: Scalar
    beta2_rest: Scalar
    m_scale: Scalar
    v_scale: Scalar
    eps: Scalar


def adam_scalars(beta1: Scalar, beta2: Scalar, eps: Scalar, t: Scalar) -> AdamScalars:
    r""":math:`1/(1-\beta_1^t)` and :math:`1/\sqrt{1-\beta_2^t}` beside the weights of the averages."""
    return AdamScalars(
        beta1, 1 - beta1, beta2, 1 - beta2, m_scale=1 / (1 - beta1**t), v_scale=(1 - beta2**t) ** -0.5, eps=eps
    )


@rule
class Adam(Rule):
    r"""Momentum divided by the recent size of the gradient, both corrected for their start at zero.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
        u_t = \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Args:
        beta1: Weight of the past in the momentum. Unitless, in [0, 1).
        beta2: Weight of the past in the squared gradient. Unitless, in [0, 1).
        eps: Keeps the division finite. In units of the gradient, in [0, inf).
        debias: Correct both averages for their start at zero; without, :math:`1-\beta^t` is left out everywhere.

    Shapes: ``g``, ``p``, ``u``, ``m`` and ``v`` share one shape. Memory: 8 bytes a parameter.
    Units: ``u`` is unitless and seldom above 1: the learning rate is the largest change of a parameter in a step.
    Source: Kingma and Ba 2014, arXiv:1412.6980, Algorithm 1.

    Example:
        >>> rule, p = Adam(), torch.zeros(2)
        >>> u, s = rule.update(torch.tensor([3.0, -0.5]), rule.init(p), p, rule.scalars(1))
        >>> u
        tensor([ 1., -1.])
    """

    beta1: Scalar = hyper(default=0.9, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.999, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="[0, inf)")
    debias: bool = True

    torch_names: ClassVar[dict[str, str]] = {"m": "exp_avg", "v": "exp_avg_sq"}

    class State(NamedTuple):
        m: Tensor
        v: Tensor

    def init(self, p: Tensor) -> State:
        return self.State(m=torch.zeros_like(p), v=torch.zeros_like(p))

    def scalars(self, t: Scalar) -> AdamScalars:
        k = adam_scalars(self.beta1, self.beta2, self.eps, t)
        return k if self.debias else k._replace(m_scale=1.0, v_scale=1.0)

    def update(self, g: Any, s: State, p: Any, k: AdamScalars) -> tuple[Any, State]:
        m = k.beta1 * s.m + k.beta1_rest * g
        v = k.beta2 * s.v + k.beta2_rest * (g * g)
        u = (m * k.m_scale) / (torch.sqrt(v) * k.v_scale + k.eps)
        return u, self.State(m, v)


@rule
class AMSGrad(Rule):
    r"""Adam that divides by the largest size so far, so that a step never grows because gradients became rare.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
        w_t = \max(w_{t-1}, v_t), \qquad
        u_t = \frac{m_t / (1 - \beta_1^t)}{\sqrt{w_t / (1 - \beta_2^t)} + \epsilon}

    with :math:`w = \hat v` in the paper's notation.

    Args:
        beta1: Weight of the past in the momentum. Unitless, in [0, 1).
        beta2: Weight of the past in the squared gradient. Unitless, in [0, 1).
        eps: Keeps the division finite. In units of the gradient, in [0, inf).

    Shapes: ``g``, ``p``, ``u``, ``m``, ``v`` and ``w`` share one shape. Memory: 12 bytes a parameter.
    Units: as :class:`Adam`.
    Differs from: the paper, which corrects no bias, and optax, which takes the maximum of the corrected :math:`v`. As
    torch, we take the maximum first and correct it afterwards.
    Source: Reddi, Kale and Kumar 2018, arXiv:1904.09237, Algorithm 2.

    Example:
        >>> rule, p = AMSGrad(), torch.zeros(2)
        >>> u, s = rule.update(torch.tensor([3.0, -0.5]), rule.init(p), p, rule.scalars(1))
        >>> u
        tensor([ 1., -1.])
    """

    beta1: Scalar = hyper(default=0.9, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.999, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="[0, inf)")

    torch_names: ClassVar[dict[str, str]] = {"m": "exp_avg", "v": "exp_avg_sq", "w": "max_exp_avg_sq"}

    class State(NamedTuple):
        m: Tensor
        v: Tensor
        w: Tensor

    def init(self, p: Tensor) -> State:
        return self.State(m=torch.zeros_like(p), v=torch.zeros_like(p), w=torch.zeros_like(p))

    def scalars(self, t: Scalar) -> AdamScalars:
        return adam_scalars(self.beta1, self.beta2, self.eps, t)

    def update(self, g: Any, s: State, p: Any, k: AdamScalars) -> tuple[Any, State]:
        m = k.beta1 * s.m + k.beta1_rest * g
        v = k.beta2 * s.v + k.beta2_rest * (g * g)
        w = torch.maximum(s.w, v)
        u = (m * k.m_scale) / (torch.sqrt(w) * k.v_scale + k.eps)
        return u, self.State(m, v, w)


@piece("rule")
def adam(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    *,
    decoupled_weight_decay: bool = False,
) -> Chain:
    """Adam with an L2 penalty, as torch.optim.Adam.

    Family: adaptive
    Usual lr: 1e-4 to 1e-2
    Use when: an older setting is to be reproduced, or there is no weight decay (then it is adamw).
    Not when: there is weight decay: as an L2 penalty it is divided by the size of the gradient and decays weights
    unevenly; adamw does not (arXiv:1711.05101).
    Source: arXiv:1412.6980, Algorithm 1.
    """
    link = AMSGrad(*pair(betas), eps) if amsgrad else Adam(*pair(betas), eps)
    if decoupled_weight_decay:
        return chain(link, WeightDecay(weight_decay), LearningRate(lr))
    return chain(WeightDecay(weight_decay), link, LearningRate(lr))


@piece("rule")
def adamw(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
    *,
    fully_decoupled: bool = False,
) -> Chain:
    """Adam with decoupled weight decay, as torch.optim.AdamW.

    A step takes ``lr * weight_decay`` of every parameter away; with ``fully_decoupled=True`` it takes ``weight_decay``,
    whatever the learning rate is or does (so multiply your usual value by your usual learning rate: 1e-2 becomes 1e-5).

    Family: adaptive
    Usual lr: 1e-4 to 1e-2
    Use when: the model is a transformer, or you know nothing of it: tuned, it is hard to beat (arXiv:2007.01547,
    arXiv:2509.02046). For fine-tuning 1e-5 to 5e-5.
    Not when: memory is short (lion, or a low-memory rule), or a matrix rule's 1.1 to 1.4 times fewer steps pay for its
    cost (arXiv:2509.02046).
    Source: arXiv:1711.05101, Algorithm 2.
    """
    link = AMSGrad(*pair(betas), eps) if amsgrad else Adam(*pair(betas), eps)
    if fully_decoupled:
        return chain(link, LearningRate(lr), WeightDecay(weight_decay))
    return chain(link, WeightDecay(weight_decay), LearningRate(lr))


@piece("rule")
def amsgrad(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Chain:
    """AMSGrad with an L2 penalty: ``adam(..., amsgrad=True)``.

    Family: adaptive
    Usual lr: 1e-4 to 1e-2
    Use when: Adam's steps grow when gradients become rare, or you need the proof of convergence.
    Not when: you hope for more than Adam gives: over many tasks it does about the same (arXiv:2007.01547), for half as
    much state again.
    Source: arXiv:1904.09237, Algorithm 2.
    """
    return chain(WeightDecay(weight_decay), AMSGrad(*pair(betas), eps), LearningRate(lr))
