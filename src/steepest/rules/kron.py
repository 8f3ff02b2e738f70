"""PSGD-Kron: a preconditioner that learns, step by step, to make the gradient white."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.rules.factored import as_matrix, finite, rms
from steepest.rules.learning_rate import LearningRate
from steepest.rules.signs import key, signs
from steepest.rules.weight_decay import WeightDecay

BALANCE = 100
"""Fits from one balancing of the two factors to the next."""
TINY = torch.finfo(torch.float32).tiny


@rule
class Kron(Rule):
    r"""Step along :math:`Q^\top Q m`, where :math:`Q = Q_R \otimes Q_L` learns to make the gradient white.

    .. math::
        m_t &= \beta m_{t-1} + (1 - \beta) g_t, \quad \hat m_t = m_t / (1 - \beta^t), \qquad
        u_t = \min(1, d / \operatorname{RMS}(x_t))\, x_t, \quad x_t = Q_L^\top Q_L \hat m_t Q_R^\top Q_R

        A &= Q_L (\hat m_t + \delta z) Q_R^\top, \qquad B = Q_L^{-\top} z Q_R^{-1}, \qquad z_{ij} = \pm 1

        Q_L &\leftarrow Q_L - \mu \frac{\operatorname{triu}(A A^\top - B B^\top)}{\|A A^\top + B B^\top\|} Q_L, \qquad
        Q_R \leftarrow Q_R - \mu \frac{\operatorname{triu}(A^\top A - B^\top B)}{\|A^\top A + B^\top B\|} Q_R

    :math:`Q` moves along its group (upper triangular matrices, or diagonal ones). It is fitted in every step at first,
    then with a probability that falls to ``least``: the fits so far are as many as the probabilities so far add up to,
    so that which steps they are follows from :math:`t` alone.

    Args:
        beta: Weight of the past in the momentum. Unitless, in [0, 1).
        step: Step :math:`\mu` of the fit, relative. Unitless, in [0, 1].
        d: Largest root mean square of the direction. Unitless, in (0, inf]; inf does not clip.
        damping: :math:`\delta`, in units of the gradient, in [0, inf): what a gradient of zero is taken for.
        flat: How many steps fit every time, in [0, inf).
        decay: How fast the probability falls after them, a step, in [0, inf): 0 leaves it at 1.
        least: The probability it falls to. In (0, 1].
        max_dim: Largest dimension with a triangular factor, in [0, inf); a larger one has a diagonal factor.
        seed: Of the random signs :math:`z`, which are made from it and :math:`t`. A whole number in [0, inf).

    Shapes: any; of more than two dimensions the first are the rows and the rest, merged, the columns. Vectors and
    numbers have a diagonal factor. Memory: 4 + 4(m^2 + n^2)/(mn) bytes a parameter for an m x n matrix (12 where it is
    square; 4n for 4n^2 where a side is diagonal), 8 for vectors. Which sides are triangular is decided when the state
    is made.
    Units: ``u`` is unitless: whitened, of root mean square about 1 at most; learning rates sit 3-10 times below Adam's.
    Differs from: the authors' code in three simplifications: random signs stand for normal numbers (the same second
    moments), kernels are merged to matrices instead of one factor a dimension, the factors are balanced every 100 fits
    instead of with probability 0.01. Norms of matrices are the authors' lower bound.
    Source: Li 2015, arXiv:1512.04202 (the fit); Li 2018, arXiv:1803.09383 (Lie groups); the Kron of
    evanatyourservice/kron_torch.

    Example:
        >>> rule, p = Kron(), torch.zeros(2, 2)
        >>> rule.update(torch.eye(2), rule.init(p), p, rule.scalars(1))[0].shape
        torch.Size([2, 2])
    """

    beta: Scalar = hyper(default=0.9, bounds="[0, 1)")
    step: Scalar = hyper(default=0.1, bounds="[0, 1]")
    d: Scalar = hyper(default=1.1, bounds="(0, inf]")
    damping: Scalar = hyper(default=1e-9, bounds="[0, inf)")
    flat: Scalar = hyper(default=500, bounds="[0, inf)", shared=True, whole=True)
    decay: Scalar = hyper(default=1e-3, bounds="[0, inf)", shared=True)
    least: Scalar = hyper(default=0.03, bounds="(0, 1]", shared=True)
    max_dim: Scalar = hyper(default=8192, bounds="[0, inf)", shared=True, whole=True)
    seed: Scalar = hyper(default=0, bounds="[0, inf)", shared=True, whole=True)

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"

    class State(NamedTuple):
        m: Tensor
        QL: Tensor
        QR: Tensor

    class K(NamedTuple):
        beta: Scalar
        rest: Scalar
        scale: Scalar
        step: Scalar
        d: Scalar
        damping: Scalar
        key: int
        fit: Scalar
        balance: Scalar

    def init(self, p: Tensor) -> State:
        m, n = as_matrix(p).shape

        def made(size: int) -> Tensor:
            whole = p.ndim > 1 and 1 < size <= self.max_dim
            return torch.eye(size, dtype=p.dtype, device=p.device) if whole else p.new_ones(size)

        return self.State(torch.zeros_like(p), made(m), made(n) if p.ndim > 1 else p.new_zeros(0))

    def fits(self, t: int) -> int:
        """How many of the first ``t`` steps fit the preconditioner: the probabilities added up."""
        flat, decay, least = float(self.flat), float(self.decay), float(self.least)
        fall = math.inf if decay == 0 else -math.log(least) / decay
        after = max(0.0, t - flat)
        falling = after if decay == 0 else -math.expm1(-decay * min(after, fall)) / decay
        return math.floor(min(t, flat) + falling + least * max(0.0, after - fall) + 1e-9)

    def scalars(self, t: Scalar) -> K:
        before, now = self.fits(int(t) - 1), self.fits(int(t))
        return self.K(
            self.beta,
            1 - self.beta,
            1 / (1 - self.beta**t),
            self.step,
            self.d,
            self.damping,
            key=key(int(self.seed), int(t)),
            fit=now > before,
            balance=now // BALANCE > before // BALANCE,
        )

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        m = k.beta * s.m + k.rest * g
        M, QL, QR = as_matrix(k.scale * m), s.QL, s.QR
        if k.balance:
            QL, QR = balanced(QL, QR)
        if k.fit:
            z = signs(M, k.key)
            A = left(QL, left(QR, (M + k.damping * z).mT).mT)
            B = solved(QL, solved(QR, z.mT).mT)
            QL, QR = fitted(QL, A, B, k.step), fitted(QR, A.mT, B.mT, k.step)
        x = twice(QL, twice(QR, M.mT).mT).reshape(g.shape)
        return x * (k.d / (rms(x) + 1e-6)).clamp(max=1.0), self.State(m, QL, QR)


def left(Q: Tensor, X: Tensor) -> Tensor:
    """``Q X``, where a vector is the diagonal of a factor and nothing the identity."""
    if not Q.numel():
        return X
    return torch.matmul(Q, X) if Q.ndim == 2 else Q.unsqueeze(1) * X


def twice(Q: Tensor, X: Tensor) -> Tensor:
    """``Q^T Q X``."""
    return left(Q.mT if Q.ndim == 2 else Q, left(Q, X))


def solved(Q: Tensor, X: Tensor) -> Tensor:
    """``Q^-T X``."""
    if not Q.numel():
        return X
    if Q.ndim == 1:
        return torch.div(X, Q.unsqueeze(1))
    solution: Tensor = torch.linalg.solve_triangular(Q, X.mT, upper=True, left=False).mT  # half the time of the left
    return solution


def fitted(Q: Tensor, A: Tensor, B: Tensor, step: Scalar) -> Tensor:
    """A factor after one relative step along its group; the same where that is not finite."""
    if not Q.numel():
        return Q
    if Q.ndim == 1:
        a, b = (A * A).sum(1), (B * B).sum(1)
        new = Q - step * (a - b) * Q / ((a + b).amax() + TINY)
    else:
        a, b = A @ A.mT, B @ B.mT
        new = Q - step * (torch.triu(a - b) @ Q) / (norm_bound(a + b) + TINY)
    return finite(new, Q)


def norm_bound(S: Tensor) -> Tensor:
    """A lower bound of the largest eigenvalue of a positive semidefinite matrix, exact for rank one."""
    top = S.abs().amax()
    S = S / torch.where(top > 0, top, 1.0)
    x = S @ S.take_along_dim(S.square().sum(0).argmax().reshape(1, 1), 1)
    return torch.div(top * torch.linalg.vector_norm(S @ x), torch.linalg.vector_norm(x) + TINY)


def balanced(QL: Tensor, QR: Tensor) -> tuple[Tensor, Tensor]:
    """Two factors with the same product and the same largest entry."""
    if not (QL.numel() and QR.numel()):
        return QL, QR
    ratio = torch.sqrt(QR.abs().amax() / QL.abs().amax())
    return QL * ratio, QR / ratio


@piece("rule")
def kron(
    lr: float = 3e-4,
    beta: float = 0.9,
    weight_decay: float = 0.0,
    step: float = 0.1,
    *,
    flat: int = 500,
    decay: float = 1e-3,
    least: float = 0.03,
    max_dim: int = 8192,
    seed: int = 0,
) -> Chain:
    """PSGD with a Kronecker-factored preconditioner and decoupled weight decay (times the learning rate).

    Family: matrix
    Usual lr: 1e-4 to 1e-3
    Use when: problems are hard for Adam (badly conditioned, sparse rewards, small batches), or a language model is
    trained for long, where it was ahead of muon (arXiv:2509.02046): it needs no tuned second moment, and after the
    first thousand steps costs little more than its products.
    Not when: the first 500 steps matter most, in each of which the preconditioner is fitted at the price of several
    products and two triangular solves.
    Source: arXiv:1512.04202; kron_torch.
    """
    link = Kron(beta, step, flat=flat, decay=decay, least=least, max_dim=max_dim, seed=seed)
    return chain(link, WeightDecay(weight_decay), LearningRate(lr))
