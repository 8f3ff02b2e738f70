"""Graph-smoothed surgery: each gradient first borrows from those that point its way."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor

from steepest.core.piece import Piece, piece
from steepest.core.rule import hyper
from steepest.multitask.method import Method, Seen, finite, method, or_nan
from steepest.multitask.preconditioned import comparing
from steepest.multitask.solvers import cosines
from steepest.multitask.solvers.cosines import reciprocal
from steepest.multitask.upgrad import upgrad as _upgrad


@method
class Smoothed(Method):
    r"""Each gradient becomes a mean of those that do not conflict with it; another method combines what comes out.

    .. math::
        d_i = n_i \sum_j S_{ij} \frac{g_j}{n_j}, \qquad S_{ij} \propto e^{C_{ij} / \tau} \text{ where } C_{ij} \ge 0

    with lengths :math:`n` and cosines :math:`C`; a row of :math:`S` sums to 1. Where all conflict, :math:`S` is the
    identity, and nothing is borrowed.

    Args:
        of: The method, one that compares gradients.
        tau: :math:`\tau`, in (0, inf): small, and each keeps to itself; large, and all that agree count alike.

    What the method promises, it promises of :math:`d_i`, not of the gradients.
    Source: ours, as a test of whether a graph over tasks helps surgery; see docs/multitask.md for what it did.
    """

    of: Method
    tau: float = hyper(0.2, "(0, inf)")

    reads_losses: ClassVar[bool] = True

    @property
    def level(self) -> Any:
        """As the method's."""
        return getattr(self.of, "level", "gramian")

    def start(self, m: int) -> Any:
        return self.of.start(m)

    def weigh(self, seen: Seen, s: Any) -> tuple[Tensor, Any]:
        G, good = finite(seen.G)
        n, C = cosines(G)
        S = torch.softmax(torch.where(C >= 0, C / self.tau, -torch.inf), -1)
        M = n[..., :, None] * S * reciprocal(n)[..., None, :]
        products = torch.where(good[..., None, None], M @ G @ M.mT, torch.nan)
        w, s = self.of.weigh(dataclasses.replace(seen, gramian=products), s)
        return or_nan((w[..., None, :] @ M)[..., 0, :], good), s


@piece("multitask")
def smoothed(of: Piece = _upgrad(), tau: float = 0.2) -> Method:  # noqa: B008
    """Each gradient first averaged with those that point its way, then another method.

    Args:
        of: The method, such as ``upgrad()`` or ``cagrad()``.
        tau: How much is borrowed.

    Use when: there are many noisy tasks, some of them alike.
    Not when: no task may be hurt: that is promised of the averages only. Nobody but us has tested it.
    Source: ours, a test of whether a graph over tasks helps surgery.
    """
    return Smoothed(comparing(of, "smoothed"), tau)
