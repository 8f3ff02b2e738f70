"""Gradients compared as the optimizer will scale them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from steepest.core.piece import Piece, piece
from steepest.multitask.method import Groups, Method, MultiTaskError, Seen, method
from steepest.multitask.upgrad import upgrad as _upgrad

SQUARES = ("exp_avg_sq", "square_avg", "sum")
"""What torch calls the running squares of the gradients: of Adam, RMSprop and Adagrad; the rules here as well."""
EPS = 1e-8


@method
class Preconditioned(Method):
    r"""Another method, for the products :math:`g_i^T D g_j` in place of :math:`g_i^T g_j`.

    Adam and its kin multiply the entries of the direction by :math:`D = 1 / (\sqrt v + \epsilon)`. What a step does to
    loss :math:`i` is then :math:`-g_i^T D d`: a method that promises to hurt nobody keeps the promise for that step,
    but for the rule's momentum.

    Args:
        of: The method, one that compares gradients.

    The squares are those of before the step. A parameter that has none yet, and a rule without such, are compared as
    usual.
    Source: the surgery is the other method's; that it should be done in the metric of the optimizer is a remark of many
    and the recommendation of none. See docs/multitask.md for what it did in our runs.
    """

    of: Method

    reads_losses: ClassVar[bool] = True
    preconditioned: ClassVar[bool] = True

    @property
    def level(self) -> Any:
        """Entries are scaled one by one, so there must be rows."""
        return "jacobian"

    def start(self, m: int) -> Any:
        return self.of.start(m)

    def together(self, m: int, s: Any, t: int) -> Groups | None:
        return self.of.together(m, s, t)

    def weigh(self, seen: Seen, s: Any) -> tuple[Tensor, Any]:
        return self.of.weigh(seen, s)


def diagonal(optimizer: Any) -> Callable[[Tensor], Tensor | None]:
    """By how much an optimizer will scale each entry of a parameter's gradient; None where it does not.

    >>> p = torch.nn.Parameter(torch.zeros(2))
    >>> adam = torch.optim.Adam([p])
    >>> diagonal(adam)(p) is None
    True
    >>> p.grad = torch.tensor([1.0, 0.1]); adam.step()
    >>> (diagonal(adam)(p) / diagonal(adam)(p)[0]).round()
    tensor([ 1., 10.])
    """

    def of(p: Tensor) -> Tensor | None:
        state = optimizer.state.get(p, {})
        v = next((state[name] for name in SQUARES if isinstance(state.get(name), Tensor)), None)
        if v is None:
            return None
        if v.shape != p.shape or not v.is_floating_point():
            raise MultiTaskError(
                f"the optimizer keeps its squares of a parameter of shape {tuple(p.shape)} as {tuple(v.shape)}, "
                f"{v.dtype}: entries cannot be scaled by them. Keep the state as the parameters are."
            )
        return torch.where(v > 0, 1 / (v.sqrt() + EPS), 0.0)

    return of


@piece("multitask")
def preconditioned(of: Piece = _upgrad()) -> Method:  # noqa: B008
    """Another method that compares gradients, which are compared as Adam will scale them.

    Args:
        of: The method, such as ``upgrad()`` or ``cagrad()``.

    Use when: no loss may go up, and the rule is Adam or one of its kin.
    Not when: memory is short: a row for each task is kept. Nobody but us has tested it.
    Source: the method's own; the metric is that of the rule, arXiv:1412.6980, Algorithm 1.
    """
    return Preconditioned(comparing(of, "preconditioned"))


def comparing(of: Any, name: str) -> Method:
    """The method of a piece, if it is one that compares gradients."""
    inner = of.build() if isinstance(of, Piece) else of
    if not isinstance(inner, Method) or inner.needs != "gramian":
        raise MultiTaskError(f"{name} needs a method that compares gradients, such as upgrad(); got {of}.")
    return inner
