"""Shampoo: the gradient between roots of what its rows and its columns have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import where
from steepest.rules.betas import pair
from steepest.rules.factored import as_matrix, inverse_root
from steepest.rules.learning_rate import LearningRate
from steepest.rules.weight_decay import WeightDecay

Graft = Literal["none", "sgd", "adagrad", "rmsprop", "adam"]


@rule
class Shampoo(Rule):
    r"""Precondition a matrix from both sides; let a simpler rule say how long the step is (grafting).

    .. math::
        L_t = \beta_2 L_{t-1} + (1 - \beta_2) g_t g_t^\top, \qquad
        R_t = \beta_2 R_{t-1} + (1 - \beta_2) g_t^\top g_t, \qquad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t

        x_t = (L_t + \epsilon \lambda_L I)^{-\kappa/4}\, \hat m_t\, (R_t + \epsilon \lambda_R I)^{-\kappa/4}, \qquad
        u_t = \frac{\|a_t\|}{\|x_t\|} x_t

    with :math:`\hat m_t = m_t / (1 - \beta_1^t)`, :math:`\lambda` the largest eigenvalue and :math:`a_t` the step of
    the rule that is grafted: :math:`\hat m_t`, or :math:`\hat m_t / (\sqrt{h_t} + \epsilon_h)` where :math:`h_t` is the
    sum (adagrad), the moving average (rmsprop) or the corrected moving average (adam) of :math:`g_t^2`. With
    :math:`\beta_2 = 1`, :math:`L` and :math:`R` are sums. With one factor the exponent is :math:`-\kappa/2`.
    Roots are taken at the steps 1, 2, 4, 8, ... up to ``every``, then every ``every`` steps.

    Args:
        beta1: Weight of the past in the momentum; 0 keeps none, for good. Unitless, in [0, 1).
        beta2: Weight of the past in the factors; 1 sums them up. Unitless, in [0, 1].
        eps: Added to all eigenvalues, in units of the largest one, in [0, inf).
        every: Steps from one root to the next, in [1, inf).
        power: Multiplies the exponent: :math:`\kappa`, in (0, inf). 1 is Shampoo, 2 what its derivations as an
            approximation of full-matrix methods ask for.
        max_dim: Largest dimension that gets a whole factor, in [0, inf).
        graft_beta2: Weight of the past in :math:`h` (not for adagrad). Unitless, in [0, 1).
        graft_eps: :math:`\epsilon_h`, in units of the gradient, in [0, inf).
        graft: Whose length the step has; ``"none"`` leaves Shampoo's own.
        large: What a dimension above ``max_dim`` gets: the ``"diagonal"`` of its factor, or nothing (``"identity"``).

    Shapes: any; of more than two dimensions the first are the rows and the rest, merged, the columns. Vectors and
    numbers have a diagonal factor. Memory: 8(m^2 + n^2)/(mn) bytes a parameter for an m x n matrix, 8n instead of 8n^2
    for a diagonal side of n, 8 for vectors; 4 more with momentum and 4 more where adagrad, rmsprop or adam is grafted.
    Which sides have a factor is decided when the state is made.
    Differs from: the paper, which starts the factors at :math:`\epsilon I`; here it is relative and added at the root,
    so that the scale of the gradient has no effect. Distributed Shampoo, whose ``epsilon`` is absolute, splits large
    dimensions into blocks, and steps along the grafted rule until the first root. Eigenvalues below the rounding of
    the largest are taken for it; a factor that is not finite keeps its last root.
    Source: Gupta, Koren and Singer 2018, arXiv:1802.09568, Algorithm 1; grafting, moving averages and momentum before
    the roots: Shi et al. 2023, arXiv:2309.06497.

    Example:
        >>> rule, p = Shampoo(graft="none"), torch.zeros(2, 2)
        >>> rule.update(torch.tensor([[3.0, 0.0], [0.0, -1.0]]), rule.init(p), p, rule.scalars(1))[0].round(decimals=3)
        tensor([[ 1.,  0.],
                [ 0., -1.]])
    """

    beta1: Scalar = hyper(default=0.9, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.999, bounds="[0, 1]")
    eps: Scalar = hyper(default=1e-6, bounds="[0, inf)")
    every: Scalar = hyper(default=50, bounds="[1, inf)", shared=True, whole=True)
    power: Scalar = hyper(default=1.0, bounds="(0, inf)")
    max_dim: Scalar = hyper(default=4096, bounds="[0, inf)", shared=True, whole=True)
    graft_beta2: Scalar = hyper(default=0.999, bounds="[0, 1)")
    graft_eps: Scalar = hyper(default=1e-8, bounds="[0, inf)")
    graft: Graft = "adam"
    large: Literal["diagonal", "identity"] = "diagonal"

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"

    class State(NamedTuple):
        m: Tensor
        h: Tensor
        L: Tensor
        R: Tensor
        PL: Tensor
        PR: Tensor

    class K(NamedTuple):
        beta1: Scalar
        beta1_rest: Scalar
        m_scale: Scalar
        beta2: Scalar
        beta2_rest: Scalar
        scale: Scalar
        eps: Scalar
        power: Scalar
        h: Scalar
        h_rest: Scalar
        h_scale: Scalar
        graft_eps: Scalar
        root: Scalar

    def init(self, p: Tensor) -> State:
        none = p.new_zeros(0)
        kept = isinstance(self.beta1, Tensor) or self.beta1 > 0
        L, R = self.factors(p)
        return self.State(
            torch.zeros_like(p) if kept else none,
            none if self.graft in ("none", "sgd") else torch.zeros_like(p),
            *(L, R, torch.zeros_like(L), torch.zeros_like(R)),
        )

    def factors(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros for each side: a matrix, a diagonal, or nothing where the side has 1 entry or stays as it is."""
        m, n = as_matrix(p).shape

        def made(size: int, other: int) -> Tensor:
            if size == 1 and other > 1:
                return p.new_zeros(0)
            if p.ndim > 1 and 1 < size <= self.max_dim:
                return p.new_zeros(size, size)
            return p.new_zeros(size if p.ndim < 2 or size == 1 or self.large == "diagonal" else 0)

        L = made(m, n)
        return L, (p.new_zeros(0) if n == 1 else made(n, m))

    def scalars(self, t: Scalar) -> K:
        sums = self.beta2 == 1
        adagrad, adam = self.graft == "adagrad", self.graft == "adam"
        return self.K(
            beta1=self.beta1,
            beta1_rest=1 - self.beta1,
            m_scale=1 / (1 - self.beta1**t),
            beta2=self.beta2,
            beta2_rest=where(sums, 1.0, 1 - self.beta2),
            scale=1 / where(sums, 1.0, 1 - where(sums, 0.0, self.beta2) ** t),
            eps=self.eps,
            power=self.power,
            h=1.0 if adagrad else self.graft_beta2,
            h_rest=1.0 if adagrad else 1 - self.graft_beta2,
            h_scale=(1 - self.graft_beta2**t) ** -0.5 if adam else 1.0,
            graft_eps=self.graft_eps,
            root=t % self.every == 0 or (t < self.every and int(t) & (int(t) - 1) == 0),
        )

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        m = k.beta1 * s.m + k.beta1_rest * g if s.m.shape == g.shape else s.m
        M = k.m_scale * m if s.m.shape == g.shape else g
        h = k.h * s.h + k.h_rest * (g * g) if s.h.shape == g.shape else s.h
        G, PL, PR = as_matrix(g), s.PL, s.PR
        L, R = k.beta2 * s.L + k.beta2_rest * gram(s.L, G), k.beta2 * s.R + k.beta2_rest * gram(s.R, G.mT)
        if k.root:
            exponent = k.power / (2 * max(1, (L.numel() > 0) + (R.numel() > 0)))
            PL, PR = inverse_root(k.scale * L, exponent, k.eps, PL), inverse_root(k.scale * R, exponent, k.eps, PR)
        u = apply(PL, apply(PR, as_matrix(M).mT).mT).reshape(g.shape)
        if self.graft != "none":
            a = M / (torch.sqrt(h) * k.h_scale + k.graft_eps) if s.h.shape == g.shape else M
            size = torch.linalg.vector_norm(u)
            u = u * (torch.linalg.vector_norm(a) / torch.where(size > 0, size, 1.0))
        return u, self.State(m, h, L, R, PL, PR)


def gram(A: Tensor, X: Tensor) -> Tensor:
    """``X X^T`` for such a factor: its diagonal where that is one, nothing where there is none."""
    if not A.numel():
        return A
    return torch.matmul(X, X.mT) if A.ndim == 2 else (X * X).sum(1)


def apply(P: Tensor, X: Tensor) -> Tensor:
    """A factor, a diagonal one or none, times the rows of a matrix."""
    if not P.numel():
        return X
    return torch.matmul(P, X) if P.ndim == 2 else P.unsqueeze(1) * X


@piece("rule")
def shampoo(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    every: int = 50,
    max_dim: int = 4096,
    graft: Graft = "adam",
    *,
    power: float = 1.0,
    graft_eps: float = 1e-8,
    large: Literal["diagonal", "identity"] = "diagonal",
) -> Chain:
    """Shampoo with the step length of another rule and decoupled weight decay (times the learning rate).

    A good learning rate of the grafted rule is one for Shampoo. The grafted average forgets like the factors do.

    Family: matrix
    Usual lr: 1e-4 to 3e-3
    Use when: steps to a loss count more than their price; it won AlgoPerf's externally tuned ruleset, 28 % faster than
    its baseline (arXiv:2502.15015), with Adam grafted.
    Not when: memory is short (a square matrix keeps twice Adam's state beside it), or for a first try: it has
    the most settings of all.
    Source: arXiv:1802.09568, Algorithm 1; arXiv:2309.06497.
    """
    beta1, beta2 = pair(betas)
    kept = beta2 if beta2 < 1 else 0.999
    link = Shampoo(beta1, beta2, eps, every, power, max_dim, kept, graft_eps, graft, large)
    return chain(link, WeightDecay(weight_decay), LearningRate(lr))
