"""Heads of tasks that are alike, pulled towards each other."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from steepest.multitask.method import MultiTaskError


class Laplacian:
    r"""Pulls heads together along a graph of tasks: many small heads with few samples each learn from their neighbours.

    .. math::
        \frac\lambda2 \sum_{i<j} A_{ij} \lVert \theta_i - \theta_j \rVert^2, \qquad
        \text{its gradient } \lambda \, (L \theta)_i, \quad L = \operatorname{diag}(A 1) - A

    Args:
        heads: A module for each task, all of the same parameters.
        affinity: ``[m, m]``, how alike the tasks are, such as ``tasks.affinity``; its halves are averaged, what is
            negative counts 0.
        weight: :math:`\lambda`, in [0, inf).

    Call :meth:`backward` after ``tasks.backward(...)``: it adds to the heads' gradients, and the method that compares
    gradients never sees it.
    Source: Evgeniou and Pontil 2004, doi:10.1145/1014052.1014067; with a graph, Evgeniou, Micchelli and Pontil 2005,
    JMLR 6, section 3.1.3.

    >>> heads = [nn.Linear(1, 1, bias=False) for _ in range(2)]
    >>> for head, value in zip(heads, (1.0, 3.0)): _ = nn.init.constant_(head.weight, value)
    >>> pull = Laplacian(heads, torch.ones(2, 2), weight=0.5)
    >>> pull.backward()
    >>> pull.loss().item(), heads[0].weight.grad.item(), heads[1].weight.grad.item()
    (1.0, -1.0, 1.0)
    """

    def __init__(self, heads: Iterable[nn.Module], affinity: Tensor, weight: float) -> None:
        self.heads = [dict(head.named_parameters()) for head in heads]
        m = len(self.heads)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight >= 0:
            raise MultiTaskError(f"Laplacian: weight is a number >= 0; got {weight!r}.")
        if tuple(affinity.shape) != (m, m):
            raise MultiTaskError(f"there are {m} heads, and an affinity of shape {tuple(affinity.shape)}.")
        first = {name: p.shape for name, p in self.heads[0].items()}
        for i, head in enumerate(self.heads):
            if {name: p.shape for name, p in head.items()} != first:
                raise MultiTaskError(
                    f"head {i} has other parameters than head 0: {_said(head)} and {_said(self.heads[0])}. Heads are "
                    "pulled together parameter by parameter; leave out those that differ."
                )
        A = ((affinity + affinity.mT) / 2).detach().clamp(min=0).fill_diagonal_(0)
        self.L, self.weight = torch.diag(A.sum(1)) - A, float(weight)

    def _stacks(self) -> list[tuple[list[Tensor], Tensor]]:
        rows: list[list[Tensor]] = [[head[name] for head in self.heads] for name in self.heads[0]]
        return [(row, torch.stack([p.flatten() for p in row])) for row in rows]

    def loss(self) -> Tensor:
        """The penalty, for those who watch it."""
        parts = [(x * (self.L.to(x) @ x)).sum() for _, x in self._stacks()]
        return self.weight / 2 * torch.stack(parts).sum()

    @torch.no_grad()
    def backward(self) -> None:
        """Add its gradient to ``.grad`` of the heads."""
        for row, x in self._stacks():
            pulls = self.weight * (self.L.to(x) @ x)
            for p, g in zip(row, pulls, strict=True):
                p.grad = g.view_as(p).clone() if p.grad is None else p.grad.add_(g.view_as(p))


def _said(head: dict[str, nn.Parameter]) -> str:
    return ", ".join(f"{name} {tuple(p.shape)}" for name, p in head.items())
