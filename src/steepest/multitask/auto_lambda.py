"""Auto-lambda: each task weighs what it does for the tasks that count."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.multitask.learned import Learned, begin, learn
from steepest.multitask.method import Level, Method, Seen, finite, method, or_nan, preferred


@method
class AutoLambda(Method):
    r"""Weights that rise for tasks whose step lowers the primary losses, and fall for those whose step raises them.

    .. math::
        \lambda \leftarrow \operatorname{Adam}\Bigl( \lambda, \; -\nabla_\lambda \sum_j p_j L^{val}_j(\theta - \alpha
        \sum_i \lambda_i g_i) \Bigr), \qquad -\frac{\partial}{\partial \lambda_i} \propto g_i \cdot \sum_j p_j g^{val}_j

    Args:
        primary: :math:`p`, a weight for each task that counts, 0 for those that are there to help; None: all alike.
        lr: Of the weights, in [0, inf).
        start_at: The weights to begin with, in (0, inf).
        level: How gradients are compared.

    Hand over another batch, ``tasks.backward(losses, other=...)``, for the second factor: on one and the same batch a
    task's own noise helps itself.
    Differs from: the paper takes the second gradient at the parameters after a trial step, of the heads too, and the
    products by finite differences; here at the parameters themselves, of what is shared, exactly. The authors' weights
    may become negative; here they stay at 0.
    Source: Liu, James, Davison and Johns 2022, arXiv:2202.03091, equations (3) to (5); Adam, its rate and where weights
    begin as in the authors' code.
    """

    primary: tuple[float, ...] | None = None
    lr: float = hyper(default=1e-4, bounds="[0, inf)")
    start_at: float = hyper(default=0.1, bounds="(0, inf)")
    level: Level = "gramian"

    permutation_invariant: ClassVar[bool] = True
    State: ClassVar[Any] = Learned

    def start(self, m: int) -> Learned:
        return begin(m, self.start_at)

    def weigh(self, seen: Seen, s: Learned) -> tuple[Tensor, Learned]:
        A, good = finite(seen.G)
        p = preferred(self.primary, A)
        new = learn(s.on(A), or_nan(-(A @ p), good), self.lr)
        new = new._replace(x=new.x.clamp(min=0))
        return or_nan(new.x, good), new


@piece("multitask")
def auto_lambda(
    primary: tuple[float, ...] | None = None, lr: float = 1e-4, start_at: float = 0.1, level: Level = "gramian"
) -> Method:
    """More weight to tasks that help those that count, less to those that hurt them.

    Args:
        primary: 1 for each task that counts, 0 for those that are there to help; all alike if not given.
        lr: Learning rate of the weights.
        start_at: The weights to begin with.
        level: How gradients are compared: ``"gramian"``, ``"jacobian"``, ``"features"``.

    Use when: one task counts, and the others are there to help it.
    Not when: all count alike: then the largest gradient earns the most.
    Source: arXiv:2202.03091, equations (3) to (5).
    """
    return AutoLambda(None if primary is None else tuple(primary), lr, start_at, level)
