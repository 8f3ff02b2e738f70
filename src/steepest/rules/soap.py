"""SOAP: Adam in the eigenbasis of Shampoo's two factors."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum
from steepest.rules.betas import pair
from steepest.rules.factored import as_matrix, average, eigenbasis, factor, power_iteration, rotate
from steepest.rules.learning_rate import LearningRate
from steepest.rules.weight_decay import WeightDecay


@rule
class SOAP(Rule):
    r"""Adam on the gradient as it looks along the principal directions of its rows and columns.

    .. math::
        g'_t &= Q_L^\top g_t Q_R, \qquad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g'_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g'^2_t

        u_t &= Q_L \left( \frac{\sqrt{1 - \beta_2^{t-1}}}{1 - \beta_1^{t-1}} \frac{m_t}{\sqrt{v_t} + \epsilon} \right)
        Q_R^\top, \qquad
        L_t = \beta L_{t-1} + (1 - \beta) g_t g_t^\top, \qquad
        R_t = \beta R_{t-1} + (1 - \beta) g_t^\top g_t

    The first step only looks: :math:`u_1 = 0`, and :math:`Q_L, Q_R` are the eigenvectors of :math:`L_1, R_1`. After
    every ``every`` further steps one round of power iteration, :math:`Q \leftarrow \operatorname{qr}(L Q)`, follows
    them; :math:`m` is turned into the new basis and :math:`v` is sorted with it.

    Args:
        beta1: Weight of the past in the momentum. Unitless, in [0, 1).
        beta2: Weight of the past in the squared rotated gradient. Unitless, in [0, 1).
        shampoo_beta: Weight :math:`\beta` of the past in the factors. Unitless, in [0, 1).
        eps: Keeps the division finite. In units of the gradient, in [0, inf).
        every: Steps from one change of basis to the next, in [1, inf).
        max_dim: Largest dimension that gets a factor, in [0, inf); along a larger one the gradient is not turned.

    Shapes: any; of more than two dimensions the first are the rows and the rest, merged, the columns; vectors and
    numbers are not turned (Adam). Memory: 8 + 8(m^2 + n^2)/(mn) bytes a parameter for an m x n matrix (24 where it is
    square), 8 for vectors. Which sides have a factor is decided when the state is made.
    Units: as Adam: ``u`` is unitless and seldom above 1.
    Differs from: the paper, which has no skipped first step (the authors' code has); the authors' code, which keeps
    :math:`m` in the basis of the weights (equal but for rounding), decays no weights in the first step, and can give
    each dimension of a kernel a factor of its own. Where a basis is not finite, the one before stays.
    Source: Vyas et al. 2024, arXiv:2409.11321, Algorithms 3 and 4.

    Example:
        >>> rule, p = SOAP(), torch.zeros(2, 2)
        >>> u, s = rule.update(torch.eye(2), rule.init(p), p, rule.scalars(1))
        >>> rule.update(torch.tensor([[0.0, 3.0], [2.0, 0.0]]), s, p, rule.scalars(2))[0].abs()
        tensor([[0., 1.],
                [1., 0.]])
    """

    beta1: Scalar = hyper(default=0.95, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.95, bounds="[0, 1)")
    shampoo_beta: Scalar = hyper(default=0.95, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="[0, inf)")
    every: Scalar = hyper(default=10, bounds="[1, inf)", shared=True, whole=True)
    max_dim: Scalar = hyper(default=10_000, bounds="[0, inf)", shared=True, whole=True)

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"
    arbitrary: ClassVar[frozenset[str]] = frozenset({"QL", "QR"})

    class State(NamedTuple):
        m: Tensor
        v: Tensor
        L: Tensor
        R: Tensor
        QL: Tensor
        QR: Tensor

    class K(NamedTuple):
        beta1: Scalar
        beta1_rest: Scalar
        beta2: Scalar
        beta2_rest: Scalar
        beta_rest: Scalar
        eps: Scalar
        scale: Scalar
        first: Scalar
        refresh: Scalar

    def init(self, p: Tensor) -> State:
        m, n = as_matrix(p).shape if p.ndim > 1 else (0, 0)
        L, R = factor(p, m, self.max_dim), factor(p, n, self.max_dim)
        return self.State(torch.zeros_like(p), torch.zeros_like(p), L, R, torch.zeros_like(L), torch.zeros_like(R))

    def scalars(self, t: Scalar) -> K:
        steps = maximum(t - 1, 1)
        return self.K(
            self.beta1,
            1 - self.beta1,
            self.beta2,
            1 - self.beta2,
            1 - self.shampoo_beta,
            self.eps,
            scale=(1 - self.beta2**steps) ** 0.5 / (1 - self.beta1**steps),
            first=t == 1,
            refresh=(t - 1) % self.every == 0,
        )

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        G = as_matrix(g)
        L, R = average(s.L, G, k.beta_rest), average(s.R, G.mT, k.beta_rest)
        if k.first:
            return torch.zeros_like(g), self.State(s.m, s.v, L, R, eigenbasis(L), eigenbasis(R))
        G = rotate(G, s.QL, s.QR)
        m = k.beta1 * as_matrix(s.m) + k.beta1_rest * G
        v = k.beta2 * as_matrix(s.v) + k.beta2_rest * (G * G)
        u = rotate(k.scale * m / (torch.sqrt(v) + k.eps), s.QL.mT, s.QR.mT)
        QL, QR = s.QL, s.QR
        if k.refresh:
            QL, i = power_iteration(L, s.QL)
            QR, j = power_iteration(R, s.QR)
            m = rotate(m, s.QL.mT @ QL, s.QR.mT @ QR)
            v = v[i] if QL.numel() else v
            v = v[:, j] if QR.numel() else v
        return u.reshape(g.shape), self.State(m.reshape(g.shape), v.reshape(g.shape), L, R, QL, QR)


@piece("rule")
def soap(
    lr: float = 3e-3,
    betas: tuple[float, float] = (0.95, 0.95),
    shampoo_beta: float | None = None,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    every: int = 10,
    max_dim: int = 10_000,
) -> Chain:
    """SOAP with decoupled weight decay (times the learning rate). ``shampoo_beta=None``: the second of ``betas``.

    Family: matrix
    Usual lr: 3e-4 to 3e-3
    Use when: matrices are of some hundreds to thousands of rows and columns and steps to a loss count more than their
    price: fewer steps than AdamW at its learning rates, with one more setting, ``every``; in long runs ahead of muon
    (arXiv:2509.02046).
    Not when: memory is short (a square matrix keeps three times Adam's state), or the model is small, where a step
    costs several of AdamW's.
    Source: arXiv:2409.11321, Algorithms 3 and 4.
    """
    beta1, beta2 = pair(betas)
    beta = beta2 if shampoo_beta is None else shampoo_beta
    return chain(SOAP(beta1, beta2, beta, eps, every, max_dim), WeightDecay(weight_decay), LearningRate(lr))
