"""AdaHessian: Adam with the Hessian's diagonal in the place of the gradient's square."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Estimator, Rule, Scalar, hyper, rule
from steepest.rules.betas import pair
from steepest.rules.learning_rate import LearningRate
from steepest.rules.weight_decay import WeightDecay


@rule
class AdaHessian(Rule):
    r"""Divide the momentum by the recent size of the curvature, entry by entry.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) D_t^2, \qquad
        u_t = \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^n)} + \epsilon}

    :math:`D_t` is the size of Hutchinson's estimate of the Hessian's diagonal, averaged over each convolution filter's
    spatial positions; :math:`n` counts estimates. Between estimates :math:`v` stays.

    Args:
        beta1: Weight of the past in the momentum. Unitless, in [0, 1).
        beta2: Weight of the past in the squared curvature, at each estimate. Unitless, in [0, 1).
        eps: Keeps the division finite. In units of the curvature, in (0, inf).
        every: Steps from estimate to estimate. In [1, inf).

    Shapes: any; the averaging is over the last dimensions but two. Memory: 8 bytes a parameter.
    Differs from: the paper in having no "Hessian power" other than its default, 1.
    Source: Yao et al. 2020, arXiv:2006.00719, Algorithm 1 and equation (10) (spatial averaging).

    Example:
        >>> r, p = AdaHessian(beta1=0.0), torch.zeros(2)
        >>> s = r.absorb(torch.tensor([-4.0, 2.0]), r.init(p), p, 1)
        >>> r.update(torch.tensor([2.0, 2.0]), s, p, r.scalars(1))[0]
        tensor([0.5000, 1.0000])
    """

    beta1: Scalar = hyper(default=0.9, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.999, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="(0, inf)")
    every: Scalar = hyper(default=1, bounds="[1, inf)", shared=True, whole=True)

    compact: ClassVar[dict[str, Literal["signed", "nonnegative", "exact"]]] = {"v": "nonnegative"}

    class State(NamedTuple):
        m: Tensor
        v: Tensor

    class K(NamedTuple):
        beta1: Scalar
        beta1_rest: Scalar
        m_scale: Scalar
        v_scale: Scalar
        eps: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(torch.zeros_like(p), torch.zeros_like(p))

    def scalars(self, t: Scalar) -> K:
        n = (t - 1) // self.every + 1
        return self.K(
            self.beta1,
            1 - self.beta1,
            m_scale=1 / (1 - self.beta1**t),
            v_scale=(1 - self.beta2**n) ** -0.5,
            eps=self.eps,
        )

    def curvature(self, t: int) -> Estimator | None:
        return "hutchinson" if (t - 1) % int(self.every) == 0 else None

    def absorb(self, h: Tensor, s: State, p: Tensor, t: int) -> State:
        d = h.abs()
        if d.ndim > 2:
            d = d.mean(tuple(range(2, d.ndim)), keepdim=True).expand_as(h)
        return s._replace(v=self.beta2 * s.v + (1 - self.beta2) * (d * d))

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        m = k.beta1 * s.m + k.beta1_rest * g
        return m * k.m_scale / (torch.sqrt(s.v) * k.v_scale + k.eps), self.State(m, s.v)


@piece("rule")
def adahessian(
    lr: float = 0.15,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-4,
    weight_decay: float = 0.0,
    every: int = 1,
) -> Chain:
    """AdaHessian with decoupled weight decay.

    In a loop of one's own call ``optimizer.backward(loss)`` in place of ``loss.backward()``.

    Family: curvature
    Usual lr: 0.05 to 0.5
    Use when: steps are few and their number counts more than their cost: each takes a second derivative.
    Not when: time counts (two to three times the cost of a step), or layers have no second derivative.
    Source: arXiv:2006.00719, Algorithm 1.
    """
    beta1, beta2 = pair(betas)
    return chain(AdaHessian(beta1, beta2, eps, every), WeightDecay(weight_decay), LearningRate(lr))
