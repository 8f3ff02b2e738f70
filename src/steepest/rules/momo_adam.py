"""MoMo-Adam: Adam whose learning rate is Polyak's, from a model of the recent losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.rules.betas import pair
from steepest.rules.momo import MoMoMemory, truncated


@rule
class MoMoAdam(Rule):
    r"""Adam that steps to where the averaged tangents of the loss meet its lower bound, up to a cap.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
        D_t = \sqrt{v_t / (1 - \beta_2^t)} + \epsilon, \qquad
        \rho_t = 1 - \beta_1^t

    .. math::
        \tau_t = \min\left(\frac{\eta}{\rho_t}, \frac{[(1 + \eta\lambda)(\bar f_t - \rho_t f_* - \gamma_t)
        + \langle m_t, x_t \rangle]_+}{\langle m_t, m_t / D_t \rangle}\right), \qquad
        x_{t+1} = \frac{x_t - \tau_t m_t / D_t}{1 + \eta\lambda}

    with :math:`\bar f_t` and :math:`\gamma_t` as in :class:`~steepest.rules.MoMo` with ``bias_correction``. Sums are
    over the model.

    Args:
        lr: Largest learning rate :math:`\eta`; take it large. In units of the parameters, in [0, inf).
        beta1: Weight of the past in the momentum and the loss. Unitless, in [0, 1).
        beta2: Weight of the past in the squared gradient. Unitless, in [0, 1).
        eps: Keeps the division finite. In units of the gradient, in (0, inf).
        f_min: Lower bound :math:`f_*` of the loss. In units of the loss, in (-inf, inf).
        weight_decay: Strength :math:`\lambda` of the proximal decay, in [0, inf).
        adapt_f_min: Raise the lower bound while the model of the loss does not come down to it.

    Shapes: ``g``, ``p``, ``u`` and the state share one shape. Memory: 8 bytes a parameter, and three numbers. Passes
    over memory: two.
    Needs: the loss of each step: ``opt.step(loss=loss)``, or a closure that returns it.
    Units: ``metrics["step_size"]`` is :math:`\tau_t`.
    Differs from: optax, which divides :math:`x_t` by :math:`1 + \eta\lambda` but not the step; as the paper and the
    authors' code we divide both.
    Source: Schaipp, Ohana, Eickenberg, Defazio and Gower 2023, arXiv:2305.07583; the authors' ``momo-opt``.

    Example:
        >>> rule, p, g = MoMoAdam(lr=1.0), torch.tensor([2.0]), torch.tensor([4.0])
        >>> k, memory = rule.combine(1, rule.start(), [8.0, 0.8, 0.04, 0.1])
        >>> rule.update(g, rule.init(p), p, k)[0]
        tensor([0.0250])
    """

    lr: Scalar = hyper(default=1e-2, bounds="[0, inf)")
    beta1: Scalar = hyper(default=0.9, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.999, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="(0, inf)")
    f_min: Scalar = hyper(default=0.0, bounds="(-inf, inf)")
    weight_decay: Scalar = hyper(default=0.0, bounds="[0, inf)")
    adapt_f_min: bool = False

    needs: ClassVar[frozenset[str]] = frozenset({"loss"})

    class State(NamedTuple):
        m: Tensor
        v: Tensor

    Memory = MoMoMemory

    class Before(NamedTuple):
        beta1: Scalar
        beta1_rest: Scalar
        beta2: Scalar
        beta2_rest: Scalar
        v_scale: Scalar
        eps: Scalar

    class K(NamedTuple):
        beta1: Scalar
        beta1_rest: Scalar
        beta2: Scalar
        beta2_rest: Scalar
        v_scale: Scalar
        eps: Scalar
        step: Scalar
        decay: Scalar
        step_size: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(m=torch.zeros_like(p), v=torch.zeros_like(p))

    def start(self) -> MoMoMemory:
        return MoMoMemory(f=0.0, gamma=0.0, f_low=float("-inf"))

    def scalars(self, t: Scalar) -> Before:
        scale = (1 - self.beta2**t) ** -0.5
        return self.Before(self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, scale, self.eps)

    def moments(self, g: Any, s: State, k: Any) -> tuple[Any, Any, Any]:
        """``m``, ``v`` and ``m / D`` after this gradient."""
        m = k.beta1 * s.m + k.beta1_rest * g
        v = k.beta2 * s.v + k.beta2_rest * (g * g)
        return m, v, m / (torch.sqrt(v) * k.v_scale + k.eps)

    def measure(self, g: Any, s: State, p: Any, k: Before) -> tuple[Any, ...]:
        m, _, u = self.moments(g, s, k)
        return g * p, m * p, m * u

    def combine(self, t: Scalar, memory: MoMoMemory, sums: Sequence[Scalar]) -> tuple[K, MoMoMemory]:
        step, tau, memory = truncated(
            memory,
            self.beta1,
            sums,
            rho=1 - self.beta1**t,
            lr=self.lr,
            weight_decay=self.weight_decay,
            f_min=self.f_min,
            adapt=self.adapt_f_min,
        )
        shrink = self.lr * self.weight_decay
        return self.K(*self.scalars(t), step, shrink / (1 + shrink), tau), memory

    def metrics(self, k: K, sums: Sequence[float]) -> dict[str, float]:
        return {"step_size": float(k.step_size)}

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        m, v, u = self.moments(g, s, k)
        return k.step * u + k.decay * p, self.State(m, v)


@piece("rule")
def momo_adam(
    lr: float = 1e-2,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    f_min: float = 0.0,
    *,
    adapt_f_min: bool = False,
) -> Chain:
    """MoMo-Adam: Adam with Polyak's learning rate, capped at ``lr``; it needs the loss of each step.

    Weight decay is proximal: weights are divided by ``1 + lr * weight_decay``.

    Family: learning-rate-free
    Usual lr: 1e-3 to 0.1
    Use when: adamw suits the model, a lower bound of the loss is known (0 for most), and the best learning rate is not:
    values far above it do no harm (arXiv:2305.07583).
    Not when: the loss ends far above its bound, as a language model's does: the cap is then all that acts, and it is
    Adam with that learning rate.
    Source: arXiv:2305.07583.
    """
    return chain(MoMoAdam(lr, *pair(betas), eps, f_min, weight_decay, adapt_f_min))
