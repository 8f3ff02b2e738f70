"""The mean inside clusters of tasks, surgery across them."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from steepest.core.piece import Piece, piece
from steepest.core.rule import hyper
from steepest.multitask.cluster import cluster, labelled, members
from steepest.multitask.method import Groups, Method, MultiTaskError, Seen, finite, method, or_nan
from steepest.multitask.preconditioned import comparing
from steepest.multitask.solvers import cosines
from steepest.multitask.upgrad import upgrad as _upgrad


@method
class Clustered(Method):
    """Tasks whose gradients point the same way go backward as one, their mean; another method combines the clusters.

    All are compared at every ``every``-th step, and a running mean of the cosines says who belongs together; between
    two comparisons a step takes a backward pass for each cluster, not for each task.

    Args:
        of: The method across clusters, one that compares gradients.
        every: Steps from one comparison of all tasks to the next, in [1, inf).
        decay: Of the running mean of cosines, for each comparison, in [0, 1).
        count: How many clusters there are to be, in [1, inf); None: as many as stand out.
        labels: The cluster of each task, where it is known: then all are never compared.

    A cluster counts as one task, however many it has: ten tasks that say the same do not outvote one. When clusters
    change, the method across them starts anew.
    Source: mean inside and surgery across is ours; grouping tasks by what they do to each other, arXiv:2109.04617.
    """

    of: Method
    every: int = hyper(20, "[1, inf)", whole=True)
    decay: float = hyper(0.8, "[0, 1)")
    count: int | None = None
    labels: tuple[int, ...] | None = None

    reads_losses: ClassVar[bool] = True

    class State(NamedTuple):
        C: Tensor
        """The running mean of the cosines; NaN before the first."""
        labels: Tensor
        inner: Any

    @property
    def level(self) -> Any:
        """As the method's."""
        return getattr(self.of, "level", "gramian")

    def start(self, m: int) -> State:
        if self.labels is not None and len(self.labels) != m:
            raise MultiTaskError(f"there are {m} tasks, and labels for {len(self.labels)}: {self.labels}.")
        labels = tuple(range(m)) if self.labels is None else labelled(list(map(list, members(self.labels))))
        C = torch.full((m, m), torch.nan, dtype=torch.float64)
        return self.State(C, torch.tensor(labels), self.of.start(len(set(labels))))

    def together(self, m: int, s: State, t: int) -> Groups | None:
        if self.labels is None and (t - 1) % self.every == 0:
            return None
        return members(tuple(s.labels.tolist()))

    def weigh(self, seen: Seen, s: State) -> tuple[Tensor, State]:
        if seen.groups is not None:
            known = dataclasses.replace(seen, groups=None, losses=_means(seen.losses, seen.groups))
            w, inner = self.of.weigh(known, s.inner)
            return w, s._replace(inner=inner)
        G, good = finite(seen.G)
        if not bool(good):
            return or_nan(torch.zeros_like(G[..., 0]), good), s
        C = cosines(G)[1].cpu()
        C = torch.where(s.C.isnan(), C, self.decay * s.C + (1 - self.decay) * C)
        labels = cluster(C, None if self.count is None else min(self.count, len(C)))
        groups = members(labels)
        inner = s.inner if labels == tuple(s.labels.tolist()) else self.of.start(len(groups))
        A = torch.zeros(len(groups), len(C), dtype=G.dtype, device=G.device)
        for k, group in enumerate(groups):
            A[k, list(group)] = 1 / len(group)
        w, inner = self.of.weigh(
            dataclasses.replace(seen, gramian=A @ G @ A.mT, losses=_means(seen.losses, groups)), inner
        )
        return w @ A, self.State(C, torch.tensor(labels), inner)


def _means(losses: Tensor | None, groups: Groups) -> Tensor | None:
    return None if losses is None else torch.stack([losses[..., list(group)].mean(-1) for group in groups], -1)


@piece("multitask")
def clustered(
    of: Piece = _upgrad(),  # noqa: B008
    every: int = 20,
    decay: float = 0.8,
    count: int | None = None,
    labels: tuple[int, ...] | None = None,
) -> Method:
    """The mean inside clusters of tasks that pull the same way, another method across them; found on the way.

    Args:
        of: The method across clusters, such as ``upgrad()`` or ``nash_mtl()``.
        every: Steps from one comparison of all tasks to the next.
        decay: Of the running mean of cosines.
        count: How many clusters; as many as stand out if not given.
        labels: The cluster of each task, where it is known.

    Use when: there are many tasks, and a backward pass for each is too dear.
    Not when: there are few, or all conflict: then each is a cluster. Nobody but us has tested it.
    Source: ours; grouping by what tasks do to each other, arXiv:2109.04617.
    """
    return Clustered(comparing(of, "clustered"), every, decay, count, None if labels is None else tuple(labels))
