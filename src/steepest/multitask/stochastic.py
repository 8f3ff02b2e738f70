"""SDMGrad, MoDo and MoCo: MGDA made right for noisy gradients."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.multitask.method import Level, Method, Seen, finite, gramian, keep, method, or_nan, preferred
from steepest.multitask.solvers import onto_simplex


def middle(m: int) -> Tensor:
    """Equal weights."""
    return torch.full((m,), 1 / m, dtype=torch.float64)


class OnSimplex:
    """What carries weights on the simplex from step to step, from equal ones on."""

    class State(NamedTuple):
        w: Tensor

    def start(self, m: int) -> State:
        return self.State(middle(m))


@method
class SDMGrad(OnSimplex, Method):
    r"""MGDA's weights by projected gradient steps, pulled to a preferred direction.

    .. math::
        w \leftarrow \Pi_\Delta \bigl( w - \eta A (w + \lambda p) \bigr), \qquad d = J^T \frac{w + \lambda p}{1 +
        \lambda}

    several times a step and with momentum, :math:`A` divided by the square of the mean gradient length.

    Args:
        lamb: :math:`\lambda`, in [0, inf).
        lr: :math:`\eta`, in (0, inf).
        momentum: Of those steps, in [0, 1).
        iterations: Of them in a step, a whole number in [1, inf).
        preference: :math:`p`; None: :math:`1/m`.
        level: How gradients are compared.

    Differs from: in the paper :math:`A = J_1 J_2^T` of two independent batches and :math:`J` of a third, which makes it
    unbiased; give ``MultiTask.backward`` a second batch's losses for :math:`A`, or it is :math:`J J^T` of the one.
    LibMTL's rate is 5, torchjd's 10.
    Source: Xiao, Ban and Ji 2023, arXiv:2305.18409, Algorithm 1; scale, momentum and iterations of the authors' code.
    """

    lamb: float = hyper(0.3, "[0, inf)")
    lr: float = hyper(10.0, "(0, inf)")
    momentum: float = hyper(0.5, "[0, 1)")
    iterations: int = hyper(20, "[1, inf)", whole=True)
    preference: tuple[float, ...] | None = None
    level: Level = "gramian"

    permutation_invariant: ClassVar[bool] = True

    def weigh(self, seen: Seen, s: OnSimplex.State) -> tuple[Tensor, OnSimplex.State]:
        A, good = finite(seen.G)
        p = preferred(self.preference, A)
        size = A.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt().mean(-1)[..., None, None]
        A = A / torch.where(size > 0, size * size, 1.0)
        before = s.w.to(A.device).expand(A.shape[:-1])
        w, speed = before, torch.zeros_like(before)
        for _ in range(self.iterations):
            speed = self.momentum * speed + (A @ (w + self.lamb * p)[..., None])[..., 0]
            w = onto_simplex(w - self.lr * speed)
        return or_nan((w + self.lamb * p) / (1 + self.lamb), good), self.State(keep(good, w, before))


@method
class MoDo(OnSimplex, Method):
    r"""MGDA's weights by one projected gradient step at each step.

    .. math::
        w \leftarrow \Pi_\Delta \bigl( w - \gamma (A w + \rho w) \bigr)

    Args:
        gamma: :math:`\gamma`, in (0, inf), in units of one over the square of a gradient.
        rho: :math:`\rho`, in [0, inf).
        level: How gradients are compared.

    Differs from: in the paper :math:`A = J_1 J_2^T` of two independent batches (see :class:`SDMGrad`).
    Source: Chen et al. 2023, arXiv:2305.20057, Algorithm 1.
    """

    gamma: float = hyper(0.1, "(0, inf)")
    rho: float = hyper(0.0, "[0, inf)")
    level: Level = "gramian"

    permutation_invariant: ClassVar[bool] = True

    def weigh(self, seen: Seen, s: OnSimplex.State) -> tuple[Tensor, OnSimplex.State]:
        A, good = finite(seen.G)
        before = s.w.to(A.device).expand(A.shape[:-1])
        w = onto_simplex(before - self.gamma * ((A @ before[..., None])[..., 0] + self.rho * before))
        return or_nan(w, good), self.State(keep(good, w, before))


@method
class MoCo(Method):
    r"""MGDA's weights by one projected gradient step at each step, for running means of the gradients.

    .. math::
        Y \leftarrow Y - \beta (Y - J), \qquad w \leftarrow \Pi_\Delta \bigl( w - \gamma (Y Y^T + \rho I) w \bigr),
        \qquad d = Y^T w

    Args:
        beta: :math:`\beta`, in (0, 1].
        gamma: :math:`\gamma`, in (0, inf), in units of one over the square of a gradient.
        rho: :math:`\rho`, in [0, inf).

    Memory: one gradient a task, from zeros. Differs from: the authors' code divides each gradient by its length,
    multiplies it by its loss, lets both rates fall with the steps, and has a softmax in place of the projection.
    Source: Fernando et al. 2023, "Mitigating Gradient Bias in Multi-objective Learning" (ICLR), Algorithm 1.
    """

    beta: float = hyper(0.5, "(0, 1]")
    gamma: float = hyper(0.1, "(0, inf)")
    rho: float = hyper(0.0, "[0, inf)")

    needs: ClassVar[Any] = "jacobian"
    permutation_invariant: ClassVar[bool] = True

    class State(NamedTuple):
        w: Tensor
        Y: Tensor

    def start(self, m: int) -> State:
        return self.State(middle(m), torch.zeros(m, 0))

    def combine(self, seen: Seen, s: State) -> tuple[Tensor, State]:
        J = seen.J
        Y = s.Y.to(J) if s.Y.numel() else torch.zeros_like(J)
        Y = Y - self.beta * (Y - J)
        G = gramian(Y)
        w = s.w.to(G.device)
        new = onto_simplex(w - self.gamma * (G @ w + self.rho * w))
        return new.to(Y) @ Y, self.State(new, Y) if bool(G.isfinite().all()) else s


@piece("multitask")
def sdmgrad(
    lamb: float = 0.3,
    lr: float = 10.0,
    momentum: float = 0.5,
    iterations: int = 20,
    preference: tuple[float, ...] | None = None,
    level: Level = "gramian",
) -> Method:
    """MGDA's weights followed from step to step, pulled to the mean.

    Args:
        lamb: How strongly it is pulled.
        lr: Learning rate of the weights.
        momentum: Of the weights.
        iterations: Steps of the weights in a step.
        preference: Where it is pulled; 1/m each if not given.
        level: How gradients are compared: ``"gramian"``, ``"jacobian"``, ``"features"``.

    Use when: gradients are noisy, and MGDA's weights would jump.
    Not when: they are not: ``mgda`` and ``cagrad`` are exact.
    Source: arXiv:2305.18409, Algorithm 1.
    """
    return SDMGrad(lamb, lr, momentum, iterations, None if preference is None else tuple(preference), level)


@piece("multitask")
def modo(gamma: float = 0.1, rho: float = 0.0, level: Level = "gramian") -> Method:
    """MGDA's weights by one projected gradient step at each step.

    Args:
        gamma: Learning rate of the weights.
        rho: How strongly they are pulled to be equal.
        level: How gradients are compared: ``"gramian"``, ``"jacobian"``, ``"features"``.

    Use when: gradients are noisy, and generalisation counts more than the front.
    Not when: losses are badly scaled: gamma has the units of one over a gradient squared.
    Source: arXiv:2305.20057, Algorithm 1.
    """
    return MoDo(gamma, rho, level)


@piece("multitask")
def moco(beta: float = 0.5, gamma: float = 0.1, rho: float = 0.0) -> Method:
    """MGDA on running means of the gradients, its weights by one projected step at a time.

    Args:
        beta: How fast the means follow.
        gamma: Learning rate of the weights.
        rho: How strongly they are pulled to be equal.

    Use when: batches are small and gradients noisy.
    Not when: memory is short: it keeps a gradient for each task.
    Source: Fernando et al. 2023, "Mitigating Gradient Bias in Multi-objective Learning", Algorithm 1.
    """
    return MoCo(beta, gamma, rho)
