"""M-ConFIG: ConFIG on running means, one task's gradient a step."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.multitask.conflict_free import ConFIG
from steepest.multitask.method import Groups, Method, Seen, gramian, method


@method
class MConFIG(Method):
    r"""ConFIG's direction of the tasks' momenta, of which each step renews one; as a gradient for Adam.

    .. math::
        m_i \leftarrow \beta m_i + (1 - \beta) g_i, \qquad
        \hat g = \operatorname{ConFIG}\Bigl( \frac{m_1}{1 - \beta^{t_1}}, \dots \Bigr), \qquad
        d_t = \frac{(1 - \beta^t) \hat g_t - \beta (1 - \beta^{t-1}) \hat g_{t-1}}{1 - \beta}

    with :math:`i` in turn. The momentum that Adam makes of :math:`d` with the same :math:`\beta_1` is
    :math:`\hat g`, corrected for its start: ``adam(betas=(beta, ...))`` with it is the paper's algorithm.

    Args:
        beta: :math:`\beta`, in [0, 1); the rule's own ``beta1``.

    Memory: a gradient for each task, and one more. Heads have their plain gradients at every step.
    Differs from: the authors' code stands still until each task has had its turn; here the first step takes all.
    Source: Liu, Chu and Thuerey 2024, arXiv:2408.11104, Algorithm 1; the authors' ``PseudoMomentumOperator``.
    """

    beta: float = hyper(0.9, "[0, 1)")

    needs: ClassVar[Any] = "jacobian"

    class State(NamedTuple):
        M: Tensor
        counts: Tensor
        """How often each task had its turn."""
        last: Tensor
        """What Adam's momentum is by now."""

    def start(self, m: int) -> State:
        return self.State(torch.zeros(m, 0), torch.zeros(m, dtype=torch.float64), torch.zeros(0))

    def together(self, m: int, s: State, t: int) -> Groups | None:
        return None if not bool(s.counts.all()) else ((int(s.counts.sum()) % m,),)

    def combine(self, seen: Seen, s: State) -> tuple[Tensor, State]:
        J, m = seen.J, len(s.counts)
        M = s.M.to(J) if s.M.numel() else J.new_zeros(m, J.shape[1])
        last = s.last.to(J) if s.last.numel() else J.new_zeros(J.shape[1])
        turn = [i for group in seen.groups for i in group] if seen.groups is not None else list(range(m))
        M = M.clone()
        M[turn] = self.beta * M[turn] + (1 - self.beta) * J
        counts = s.counts.clone()
        counts[turn] += 1
        hat = M / (1 - self.beta**counts)[:, None].to(M)
        w, _ = ConFIG().weigh(Seen(gramian=gramian(hat), precision=seen.precision), None)
        t = float(counts.sum()) - m + 1
        now = (1 - self.beta**t) * (w.to(hat) @ hat)
        d = (now - self.beta * last) / (1 - self.beta)
        return d, self.State(M, counts, now) if bool(d.isfinite().all()) else s


@piece("multitask")
def momentum_conflict_free(beta: float = 0.9) -> Method:
    """M-ConFIG: one direction at equal angles to the tasks' momenta, of which each step renews one.

    Args:
        beta: Of the momenta; the same as ``beta1`` of Adam behind it.

    Use when: ``conflict_free`` is right, and a backward pass for each task is too dear.
    Not when: the rule is not Adam or one of its kin, or there are more than some ten tasks: momenta grow old.
    Source: arXiv:2408.11104, Algorithm 1.
    """
    return MConFIG(beta)
