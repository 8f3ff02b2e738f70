"""D-Adaptation of Adam: a lower bound on the distance to the solution sets the learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum, minimum, where
from steepest.rules.betas import pair
from steepest.rules.weight_decay import WeightDecay


def distance(past: Scalar, first: Scalar, bound: Scalar, r: Scalar, s_l1: Scalar) -> Scalar:
    r""":math:`\max(d, \min(r / \|s\|_1, \gamma d))`, from the distance of the step before (0: there was none).

    >>> distance(0.0, 1e-6, math.inf, 0.0, 0.0), distance(0.5, 1e-6, 2.0, 3.0, 1.0)
    (1e-06, 1.0)
    """
    d = where(past == 0, first, past)
    estimate = where(s_l1 > 0, r / where(s_l1 > 0, s_l1, 1.0), 0.0)
    endless = not isinstance(bound, Tensor) and math.isinf(bound)  # infinity times d has no derivative
    return maximum(d, estimate if endless else minimum(estimate, d * bound))


@rule
class DAdaptAdam(Rule):
    r"""Adam with a learning rate that only grows: a lower bound on the distance to the solution, in the largest entry.

    .. math::
        \lambda_t = \eta b_t d_t, \qquad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) \lambda_t g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
        u_t = \frac{m_t}{\sqrt{v_t} + \epsilon} + \lambda_t w x_t

    .. math::
        r_t = \beta r_{t-1} + (1 - \beta) \lambda_t \Big\langle g_t, \frac{s_{t-1}}{\sqrt{v_{t-1}} + \epsilon}
        \Big\rangle, \quad
        s_t = \beta s_{t-1} + (1 - \beta) \lambda_t g_t, \quad
        d_{t+1} = \max\Big(d_t, \min\Big(\frac{r_t}{(1 - \beta) \|s_t\|_1}, \gamma d_t\Big)\Big)

    with :math:`\beta = \sqrt{\beta_2}` and :math:`d_1 = d_0`. :math:`b_t` is 1, or Adam's correction
    :math:`\sqrt{1 - \beta_2^t} / (1 - \beta_1^t)`. Sums are over the model: there is one :math:`d` for all groups.

    Args:
        lr: Factor :math:`\eta` on the steps; a schedule moves it. Unitless, in [0, inf).
        beta1: Weight of the past in the momentum. Unitless, in [0, 1).
        beta2: Weight of the past in the squared gradient. Unitless, in [0, 1).
        eps: Keeps the division finite. In units of the gradient, in (0, inf).
        weight_decay: Decoupled decay :math:`w`: a step takes :math:`\lambda_t w` of it. In [0, inf).
        d0: First distance. In units of the parameters, in (0, inf).
        growth_rate: Bound :math:`\gamma` on the growth of :math:`d` in a step. Unitless, in [1, inf].
        bias_correction: Correct the averages for their start at zero.

    Shapes: ``g``, ``p``, ``u`` and the state share one shape. Memory: 12 bytes a parameter, and two numbers. Passes
    over memory: two.
    Units: :math:`d` is in units of the parameters. ``metrics["d"]`` is :math:`d_t`.
    Differs from: the authors' code, which has one learning rate for all groups (here each enters with its own) and a
    ``layer_scale`` for each, left out here; optax always corrects the bias.
    Source: Defazio and Mishchenko 2023, arXiv:2301.07733, Adam with D-Adaptation; the estimate is that of the authors'
    code since version 3.

    Example:
        >>> rule, p, g = DAdaptAdam(d0=0.1), torch.zeros(2), torch.tensor([3.0, -0.5])
        >>> k, memory = rule.combine(1, rule.start(), [0.0, 0.0])
        >>> rule.update(g, rule.init(p), p, k)[0]
        tensor([ 0.3162, -0.3162])
    """

    lr: Scalar = hyper(default=1.0, bounds="[0, inf)")
    beta1: Scalar = hyper(default=0.9, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.999, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="(0, inf)")
    weight_decay: Scalar = hyper(default=0.0, bounds="[0, inf)")
    d0: Scalar = hyper(default=1e-6, bounds="(0, inf)")
    growth_rate: Scalar = hyper(default=math.inf, bounds="[1, inf]")
    bias_correction: bool = False

    class State(NamedTuple):
        m: Tensor
        v: Tensor
        s: Tensor

    class Memory(NamedTuple):
        r: Scalar
        d: Scalar

    class Before(NamedTuple):
        lr: Scalar
        eps: Scalar

    class K(NamedTuple):
        beta1: Scalar
        m_gain: Scalar
        beta2: Scalar
        beta2_rest: Scalar
        beta: Scalar
        s_gain: Scalar
        eps: Scalar
        decay: Scalar
        d: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(torch.zeros_like(p), torch.zeros_like(p), torch.zeros_like(p))

    def start(self) -> Memory:
        return self.Memory(r=0.0, d=0.0)

    def scalars(self, t: Scalar) -> Before:
        return self.Before(self.lr, self.eps)

    def measure(self, g: Any, s: State, p: Any, k: Before) -> tuple[Any, ...]:
        return k.lr * g * s.s / (torch.sqrt(s.v) + k.eps), abs(s.s)

    def combine(self, t: Scalar, memory: Memory, sums: Sequence[Scalar]) -> tuple[K, Memory]:
        dot, s_l1 = sums
        beta = self.beta2**0.5
        d = distance(memory.d, self.d0, self.growth_rate, memory.r / (1 - beta), s_l1)
        b = (1 - self.beta2**t) ** 0.5 / (1 - self.beta1**t) if self.bias_correction else 1.0
        step = self.lr * b * d
        k = self.K(
            self.beta1,
            (1 - self.beta1) * step,
            self.beta2,
            1 - self.beta2,
            beta,
            (1 - beta) * step,
            self.eps,
            step * self.weight_decay,
            d,
        )
        return k, self.Memory(beta * memory.r + (1 - beta) * b * d * dot, d)

    def metrics(self, k: K, sums: Sequence[float]) -> dict[str, float]:
        return {"d": float(k.d)}

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        m = k.beta1 * s.m + k.m_gain * g
        v = k.beta2 * s.v + k.beta2_rest * (g * g)
        return m / (torch.sqrt(v) + k.eps) + k.decay * p, self.State(m, v, k.beta * s.s + k.s_gain * g)


@piece("rule")
def dadapt_adam(
    lr: float = 1.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    d0: float = 1e-6,
    growth_rate: float = math.inf,
    *,
    decouple: bool = False,
    bias_correction: bool = False,
) -> Chain:
    """Adam by D-Adaptation, with an L2 penalty (or decoupled weight decay, ``decouple=True``), as the authors' code.

    ``growth_rate=1.02`` is a warm-up.

    Family: learning-rate-free
    Usual lr: 1
    Use when: a published setting of it is to be reproduced, or it must keep a little less than prodigy does.
    Not when: you begin something new: prodigy, by the same authors, finds the distance faster (arXiv:2306.06101); and
    compare either with tuned adamw (arXiv:2505.24005).
    Source: arXiv:2301.07733.
    """
    beta1, beta2 = pair(betas)
    if decouple:
        return chain(DAdaptAdam(lr, beta1, beta2, eps, weight_decay, d0, growth_rate, bias_correction))
    link = DAdaptAdam(lr, beta1, beta2, eps, 0.0, d0, growth_rate, bias_correction)
    return chain(WeightDecay(weight_decay), link)
