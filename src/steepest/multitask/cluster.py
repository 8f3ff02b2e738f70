"""Which tasks belong together, from how much each helps each."""

from __future__ import annotations

import torch
from torch import Tensor

from steepest.multitask.method import MultiTaskError

STRUCTURE = 0.1
"""A grouping whose silhouette is below this is no better than chance makes them."""


def cluster(S: Tensor, count: int | None = None) -> tuple[int, ...]:
    """A label for each task: 0 for the first task and those with it, 1 for the next one that is not, and so on.

    Always the two groups that are most alike on average become one; which of the groupings on the way is taken, is
    decided by the silhouette. Where none stands out: all together if no pair conflicts, each by itself if one does.

    Args:
        S: ``[m, m]``, how alike the tasks are: cosines, with 1 for the same. Its two halves are averaged.
        count: How many groups there are to be; None: as many as stand out.

    Source: average linkage, Sokal and Michener 1958; silhouettes, Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7.

    >>> S = torch.eye(4)
    >>> S[0, 2] = S[2, 0] = S[1, 3] = S[3, 1] = 0.8
    >>> cluster(S)
    (0, 1, 0, 1)
    """
    if S.ndim != 2 or S.shape[0] != S.shape[1] or not bool(S.isfinite().all()):
        raise MultiTaskError(f"clusters are found from a square matrix of finite numbers; got shape {tuple(S.shape)}.")
    m = len(S)
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= m):
        raise MultiTaskError(f"{m} tasks make 1 to {m} groups; got count={count!r}.")
    S = S.detach().to(device="cpu", dtype=torch.float64)
    S = (S + S.mT) / 2
    found = _groupings(S)
    if count is not None:
        return found[m - count]
    best = max(found[1:-1], key=lambda labels: silhouette(S, labels), default=None)
    if best is not None and silhouette(S, best) >= STRUCTURE:
        return best
    return found[-1] if bool((S >= 0).all()) else found[0]


def _groupings(S: Tensor) -> list[tuple[int, ...]]:
    """From each task by itself to all together, one group less each time."""
    m = len(S)
    groups = [[i] for i in range(m)]
    T = S.clone().fill_diagonal_(-torch.inf)
    found = [labelled(groups)]
    for _ in range(m - 1):
        a, b = sorted(divmod(int(T.argmax()), m))
        na, nb = len(groups[a]), len(groups[b])
        row = (na * T[a] + nb * T[b]) / (na + nb)
        T[a], T[:, a] = row, row
        T[a, a] = -torch.inf
        T[b], T[:, b] = -torch.inf, -torch.inf
        groups[a], groups[b] = groups[a] + groups[b], []
        found.append(labelled([group for group in groups if group]))
    return found


def labelled(groups: list[list[int]] | tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Labels in the order in which groups first appear.

    >>> labelled([[1, 3], [0, 2]])
    (0, 1, 0, 1)
    """
    of = {i: k for k, group in enumerate(sorted(groups, key=min)) for i in group}
    return tuple(of[i] for i in sorted(of))


def members(labels: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The tasks of each group.

    >>> members((0, 1, 0))
    ((0, 2), (1,))
    """
    return tuple(tuple(i for i, k in enumerate(labels) if k == j) for j in sorted(set(labels)))


def silhouette(S: Tensor, labels: tuple[int, ...]) -> float:
    """How much nearer tasks are to their own group than to the next, from -1 to 1; a task by itself counts 0.

    >>> round(silhouette(torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]), (0, 0, 1)), 3)
    0.6
    """
    A = torch.nn.functional.one_hot(torch.tensor(labels)).to(S)
    distance = (1 - S).fill_diagonal_(0)
    sizes = A.sum(0)
    sums = distance @ A
    own = (sums * A).sum(1) / (A @ sizes - 1).clamp(min=1)
    other = torch.where(A > 0, torch.inf, sums / sizes).amin(1)
    alone = A @ sizes == 1
    score = (other - own) / torch.maximum(other, own).clamp(min=1e-300)
    return float(torch.where(alone | ~other.isfinite(), 0.0, score).mean())
