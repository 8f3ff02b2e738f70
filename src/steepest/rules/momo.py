"""MoMo: momentum with Polyak's step size, from a model of the recent losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum, minimum, where


class MoMoMemory(NamedTuple):
    """Averages of the loss and of the gradients' products with the parameters; the lowest loss thought possible."""

    f: Scalar
    gamma: Scalar
    f_low: Scalar


def truncated(
    past: MoMoMemory,
    beta: Scalar,
    sums: Sequence[Scalar],
    *,
    rho: Scalar,
    lr: Scalar,
    weight_decay: Scalar,
    f_min: Scalar,
    adapt: bool,
) -> tuple[Scalar, Scalar, MoMoMemory]:
    r"""``(tau / (1 + lr weight_decay), tau, memory)``: how far to go until the model of the loss meets its lower bound.

    ``sums`` are :math:`\langle g, x \rangle`, :math:`\langle m, x \rangle`, the squared norm of :math:`m` and the loss.
    """
    gx, mx, square, loss = sums
    f = beta * past.f + (1 - beta) * loss
    gamma = beta * past.gamma + (1 - beta) * gx
    grow = 1 + lr * weight_decay
    height = grow * (f - gamma) + mx
    low = maximum(past.f_low, f_min)
    if adapt:
        low = where(height < grow * rho * low, maximum(height / (2 * grow * rho), f_min), low)
    gap = maximum(height - grow * rho * low, 0.0)
    tau = minimum(lr / rho, where(square > 0, gap / where(square > 0, square, 1.0), 0.0))
    if adapt:
        low = maximum((f + mx - gamma - 0.5 * tau * square) / rho, f_min)
    return tau / grow, tau, MoMoMemory(f, gamma, low)


@rule
class MoMo(Rule):
    r"""SGD with momentum that steps to where the averaged tangents of the loss meet its lower bound, up to a cap.

    .. math::
        m_t = \beta m_{t-1} + (1 - \beta) g_t, \qquad
        \bar f_t = \beta \bar f_{t-1} + (1 - \beta) f_t, \qquad
        \gamma_t = \beta \gamma_{t-1} + (1 - \beta) \langle g_t, x_t \rangle

    .. math::
        \tau_t = \min\left(\frac{\eta}{\rho_t}, \frac{[(1 + \eta\lambda)(\bar f_t - \rho_t f_* - \gamma_t)
        + \langle m_t, x_t \rangle]_+}{\|m_t\|^2}\right), \qquad
        x_{t+1} = \frac{x_t - \tau_t m_t}{1 + \eta\lambda}

    The averages start at their first values and :math:`\rho_t = 1`, or with ``bias_correction`` at 0 and
    :math:`\rho_t = 1 - \beta^t`. Norms and products are over the model.

    Args:
        lr: Longest step size :math:`\eta`; take it large. In units of the step size, in [0, inf).
        beta: Weight :math:`\beta` of the past. Unitless, in [0, 1).
        f_min: Lower bound :math:`f_*` of the loss. In units of the loss, in (-inf, inf).
        weight_decay: Strength :math:`\lambda` of the proximal decay, in [0, inf).
        bias_correction: Start the averages at 0 and correct for it.
        adapt_f_min: Raise the lower bound while the model of the loss does not come down to it.

    Shapes: ``g``, ``p``, ``u`` and ``m`` share one shape. Memory: 4 bytes a parameter, and three numbers. Passes over
    memory: two.
    Needs: the loss of each step: ``opt.step(loss=loss)``, or a closure that returns it.
    Units: ``metrics["step_size"]`` is :math:`\tau_t`.
    Differs from: optax, which divides :math:`x_t` by :math:`1 + \eta\lambda` but not the step; as the paper and the
    authors' code we divide both.
    Source: Schaipp, Ohana, Eickenberg, Defazio and Gower 2023, arXiv:2305.07583; the authors' ``momo-opt``.

    Example:
        >>> rule, p, g = MoMo(), torch.tensor([2.0]), torch.tensor([4.0])
        >>> k, memory = rule.combine(1, rule.start(), [8.0, 8.0, 16.0, 4.0])
        >>> rule.update(g, rule.init(p), p, k)[0]
        tensor([1.])
    """

    lr: Scalar = hyper(default=1.0, bounds="[0, inf)")
    beta: Scalar = hyper(default=0.9, bounds="[0, 1)")
    f_min: Scalar = hyper(default=0.0, bounds="(-inf, inf)")
    weight_decay: Scalar = hyper(default=0.0, bounds="[0, inf)")
    bias_correction: bool = False
    adapt_f_min: bool = False

    needs: ClassVar[frozenset[str]] = frozenset({"loss"})

    class State(NamedTuple):
        m: Tensor

    Memory = MoMoMemory

    class Before(NamedTuple):
        beta: Scalar
        beta_rest: Scalar

    class K(NamedTuple):
        beta: Scalar
        beta_rest: Scalar
        step: Scalar
        decay: Scalar
        step_size: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(m=torch.zeros_like(p))

    def start(self) -> MoMoMemory:
        return MoMoMemory(f=0.0, gamma=0.0, f_low=float("-inf"))

    def scalars(self, t: Scalar) -> Before:
        beta = self.beta if self.bias_correction else where(t == 1, 0.0, self.beta)
        return self.Before(beta, 1 - beta)

    def measure(self, g: Any, s: State, p: Any, k: Before) -> tuple[Any, ...]:
        m = k.beta * s.m + k.beta_rest * g
        return g * p, m * p, m * m

    def combine(self, t: Scalar, memory: MoMoMemory, sums: Sequence[Scalar]) -> tuple[K, MoMoMemory]:
        beta, beta_rest = self.scalars(t)
        step, tau, memory = truncated(
            memory,
            beta,
            sums,
            rho=1 - self.beta**t if self.bias_correction else 1.0,
            lr=self.lr,
            weight_decay=self.weight_decay,
            f_min=self.f_min,
            adapt=self.adapt_f_min,
        )
        shrink = self.lr * self.weight_decay
        return self.K(beta, beta_rest, step, shrink / (1 + shrink), tau), memory

    def metrics(self, k: K, sums: Sequence[float]) -> dict[str, float]:
        return {"step_size": float(k.step_size)}

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        m = k.beta * s.m + k.beta_rest * g
        return k.step * m + k.decay * p, self.State(m)


@piece("rule")
def momo(
    lr: float = 1.0,
    beta: float = 0.9,
    weight_decay: float = 0.0,
    f_min: float = 0.0,
    *,
    bias_correction: bool = False,
    adapt_f_min: bool = False,
) -> Chain:
    """MoMo: SGD with momentum and Polyak's step size, capped at ``lr``; it needs the loss of each step.

    Weight decay is proximal: weights are divided by ``1 + lr * weight_decay``.

    Family: learning-rate-free
    Usual lr: 0.1 to 10
    Use when: SGD with momentum suits the model, a lower bound of the loss is known (0 for most), and the best learning
    rate is not: values far above it do no harm (arXiv:2305.07583).
    Not when: the loss ends far above its bound: the cap is then all that acts, and it is SGD with that learning rate.
    Source: arXiv:2305.07583.
    """
    return chain(MoMo(lr, beta, f_min, weight_decay, bias_correction, adapt_f_min))
