"""AdamP: Adam that does not lengthen weights whose length means nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.rules.adam import adam_scalars
from steepest.rules.betas import pair
from steepest.rules.learning_rate import LearningRate


@rule
class AdamP(Rule):
    r"""Adam without the part of its step along the weights, where the gradient shows that their length has no effect.

    .. math::
        a_t = \text{Adam's direction}, \qquad
        \Pi(a) = a - \hat p \langle \hat p, a \rangle, \quad \hat p = \frac{p}{\lVert p \rVert + \epsilon}

    .. math::
        u_t = \begin{cases}
            \Pi(a_t) + \rho \lambda p & \max |\cos(g_t, p)| < \delta / \sqrt{n} \\
            a_t + \lambda p & \text{else}
        \end{cases}

    First :math:`\Pi`, the cosine and the size :math:`n` are those of each row (output channel), and all rows must pass;
    if they do not, those of the whole tensor. Vectors always take the second line.

    Args:
        beta1: Weight of the past in the momentum. Unitless, in [0, 1).
        beta2: Weight of the past in the squared gradient. Unitless, in [0, 1).
        eps: Keeps the divisions finite. In units of the gradient, in [0, inf).
        weight_decay: Strength :math:`\lambda`, in [0, inf).
        delta: Threshold :math:`\delta` of the cosine. Unitless, in [0, inf). At 0 it is AdamW.
        wd_ratio: Share :math:`\rho` of the decay where the direction is projected. Unitless, in [0, 1].
        nesterov: Look one step ahead.

    Shapes: ``g``, ``p``, ``u``, ``m`` and ``v`` share one shape, whose first dimension are the rows. Memory: 8 bytes a
    parameter.
    Units: as :class:`Adam`.
    Differs from: pytorch_optimizer, which adds eps before the bias correction. As the authors' code, we do so after it.
    Source: Heo et al. 2020, arXiv:2006.08217; the authors' ``adamp``.

    Example:
        >>> rule, p, g = AdamP(), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> u, s = rule.update(g, rule.init(p), p, rule.scalars(1))
        >>> rule.update(torch.tensor([[0.01, 2.0]]), s, p, rule.scalars(2))[0]  # no step along p
        tensor([[0., 1.]])
    """

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"

    beta1: Scalar = hyper(default=0.9, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.999, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="[0, inf)")
    weight_decay: Scalar = hyper(default=0.0, bounds="[0, inf)")
    delta: Scalar = hyper(default=0.1, bounds="[0, inf)")
    wd_ratio: Scalar = hyper(default=0.1, bounds="[0, 1]")
    nesterov: bool = False

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
        weight_decay: Scalar
        delta: Scalar
        wd_ratio: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(m=torch.zeros_like(p), v=torch.zeros_like(p))

    def scalars(self, t: Scalar) -> K:
        k = adam_scalars(self.beta1, self.beta2, self.eps, t)
        return self.K(*k, self.weight_decay, self.delta, self.wd_ratio)

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        m = k.beta1 * s.m + k.beta1_rest * g
        v = k.beta2 * s.v + k.beta2_rest * (g * g)
        ahead = k.beta1 * m + k.beta1_rest * g if self.nesterov else m
        u = (ahead * k.m_scale) / (torch.sqrt(v) * k.v_scale + k.eps)
        away: Any = k.weight_decay  # how much of p is in the direction
        if p.ndim > 1 and p.numel():
            dims = tuple(range(1, p.ndim))
            rows = tuple((a * b).sum(dims, keepdim=True) for a, b in ((p, p), (g, g), (g, p), (p, u)))
            (flat, share), (tall, whole) = _along(rows, p, 1, k), _along([x.sum(0, True) for x in rows], p, 0, k)
            part = torch.where(flat, share, torch.where(tall, whole, 0.0))
            away = torch.where(tall | flat, k.wd_ratio * k.weight_decay - part, k.weight_decay - part)
        return u + away * p, self.State(m, v)


def _along(sums: Sequence[Any], p: Any, first: int, k: AdamP.K) -> tuple[Any, Any]:
    """Whether the gradient has next to none along ``p`` everywhere, and how often ``p`` is in the direction.

    The sums are those of :math:`p^2, g^2, g p` and :math:`p u` over the dimensions from the ``first`` on.
    """
    pp, gg, gp, pu = sums
    length = torch.sqrt(pp)
    cosine = torch.abs(gp) / (torch.clamp(length, min=k.eps) * torch.clamp(torch.sqrt(gg), min=k.eps))
    least = k.delta / math.sqrt(math.prod(p.shape[first:]))
    return torch.amax(cosine) < least, pu / (length + k.eps) / (length + k.eps)


@piece("rule")
def adamp(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    delta: float = 0.1,
    wd_ratio: float = 0.1,
    nesterov: bool = False,
) -> Chain:
    """AdamP with decoupled weight decay (times the learning rate).

    Family: adaptive
    Usual lr: 1e-4 to 1e-2
    Use when: a convolutional network has normalisation after nearly every layer and is trained with momentum: there
    plain steps lengthen the weights and so shorten later steps (arXiv:2006.08217).
    Not when: layers are not followed by normalisation; then it is adamw, with cosines to compute.
    Source: arXiv:2006.08217.
    """
    return chain(AdamP(*pair(betas), eps, weight_decay, delta, wd_ratio, nesterov), LearningRate(lr))
