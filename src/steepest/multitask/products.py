"""Products of the tasks' gradients: from their rows, layer by layer without the rows, or at the features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from steepest.multitask.graph import Anatomy
from steepest.multitask.method import Groups, gramian, weighted

Mean = Callable[[Tensor], Tensor]
"""Averages a tensor over processes."""
Metric = Callable[[Tensor], Tensor | None]
"""What an optimizer will multiply the entries of a parameter's gradient with; None while nobody knows."""


class Gradients(ABC):
    """The gradients of the tasks, in some form: their products, and their weighted sum for each parameter."""

    precision: float

    @abstractmethod
    def gramian(self) -> Tensor:
        """``[m, m]``, float64."""

    @abstractmethod
    def weighted(self, w: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each compared parameter with the sum of its gradients."""


Start = tuple[Any, Tensor]
"""An edge of the graph, or a loss, and the gradient that begins there."""


class Trunk:
    """The part of the graph below the cut, and the gradients of the losses that come in there.

    Args:
        found: The graph, taken apart.
        incoming: For each task, a gradient for each edge of the cut, or None.
        roots: For each task whose way through the cut is nested, its loss and the gradient to begin with; else nothing.
            A mean of tasks has several.
        chunk: How many tasks go backward at once.
    """

    def __init__(
        self,
        found: Anatomy,
        incoming: Sequence[Sequence[Tensor | None]],
        roots: Sequence[Sequence[Start]],
        chunk: int = 1,
    ) -> None:
        self.anatomy, self.m, self.chunk, self.roots = found, len(incoming), chunk, roots
        leaf = [getattr(edge.node, "variable", None) for edge in found.cut]
        self.leaves = {id(p) for p in leaf if p is not None}
        """Shared parameters that stand in a task's own part too."""
        self.edges = [edge for edge, p in zip(found.cut, leaf, strict=True) if p is None]
        self.incoming = [[g for g, p in zip(row, leaf, strict=True) if p is None] for row in incoming]
        self.direct = [
            {id(p): g for g, p in zip(row, leaf, strict=True) if p is not None and g is not None} if not begun else {}
            for row, begun in zip(incoming, roots, strict=True)
        ]
        """What reaches a shared parameter from a task's own part, past the features."""

    def starts(self, i: int) -> list[Start]:
        """Where the gradient of a task begins."""
        if self.roots[i]:
            return list(self.roots[i])
        return [(edge, g) for edge, g in zip(self.edges, self.incoming[i], strict=True) if g is not None]

    def through(self, targets: Sequence[Any], keep: bool) -> list[list[Tensor | None]]:
        """For each task the gradients of targets: parameters, or edges of the graph."""
        found: list[list[Tensor | None]] = []
        chunk = 1 if any(self.roots) else self.chunk
        for first in range(0, self.m, chunk):
            tasks = range(first, min(first + chunk, self.m))
            found += self._block(targets, tasks, keep or tasks[-1] < self.m - 1)
        return found

    def _block(self, targets: Sequence[Any], tasks: range, keep: bool) -> list[list[Tensor | None]]:
        if len(tasks) == 1:
            return [once(targets, self.starts(tasks[0]), keep)]
        stacks: list[Start] = []
        for k, edge in enumerate(self.edges):
            rows = [self.incoming[i][k] for i in tasks]
            like = next((g for g in rows if g is not None), None)
            if like is not None:
                stacks.append((edge, torch.stack([torch.zeros_like(like) if g is None else g for g in rows])))
        grads = once(targets, stacks, keep, batched=True)
        return [[None if g is None else g[i] for g in grads] for i in range(len(tasks))]

    def plain(self, params: Sequence[Tensor], w: Tensor | None, keep: bool) -> list[tuple[Tensor, Tensor]]:
        """The gradients of the (weighted) sum of the losses, in one backward pass."""
        starts: list[Start] = []
        for k, edge in enumerate(self.edges):
            rows = [None if begun else row[k] for row, begun in zip(self.incoming, self.roots, strict=True)]
            total = _summed(rows, w)
            if total is not None:
                starts.append((edge, total))
        for i, begun in enumerate(self.roots):
            starts += [(loss, g if w is None else (g * w[i]).to(g.dtype)) for loss, g in begun]
        found = []
        for p, g in zip(params, once(params, starts, keep), strict=True):
            past = _summed([direct.get(id(p)) for direct in self.direct], w)
            both = _both(g, past)
            if both is not None:
                found.append((p, both))
        return found


def means(incoming: Sequence[Sequence[Tensor | None]], groups: Groups) -> list[list[Tensor | None]]:
    """The gradients that come in, for the means of groups of tasks."""
    found: list[list[Tensor | None]] = []
    for group in groups:
        total = [_summed([incoming[i][k] for i in group], None) for k in range(len(incoming[0]))]
        found.append([None if g is None else g / len(group) for g in total])
    return found


def once(targets: Sequence[Any], starts: Sequence[Start], keep: bool, batched: bool = False) -> list[Tensor | None]:
    """One backward pass."""
    if not starts or not targets:
        return [None] * len(targets)
    edges, grads = zip(*starts, strict=True)
    return list(
        torch.autograd.grad(edges, targets, grads, retain_graph=keep, allow_unused=True, is_grads_batched=batched)
    )


def _summed(parts: Sequence[Tensor | None], w: Tensor | None) -> Tensor | None:
    there = [i for i, g in enumerate(parts) if g is not None]
    if not there:
        return None
    stack = torch.stack([parts[i] for i in there])  # type: ignore[misc]
    if w is None:
        return stack.sum(0)
    return weighted(w[there], stack.flatten(1)).view(stack.shape[1:])


def _stacked(rows: Sequence[Tensor | None], like: Tensor, mean: Mean | None) -> Tensor:
    """``[m, ...]``; zeros for tasks that do not depend on it."""
    stack = torch.stack([torch.zeros_like(like) if g is None else g.to(like.dtype) for g in rows])
    return stack if mean is None else mean(stack)


class Rows(Gradients):
    """The gradients themselves: m times the memory of one."""

    def __init__(self, trunk: Trunk, mean: Mean | None = None) -> None:
        params = trunk.anatomy.shared
        found = trunk.through(params, keep=bool(trunk.anatomy.rest))
        self.params, self.stacks = params, []
        for k, p in enumerate(params):
            rows = [_both(found[i][k], trunk.direct[i].get(id(p))) for i in range(trunk.m)]
            self.stacks.append(_stacked(rows, p, mean).flatten(1))
        self.precision = _precision(self.stacks)

    def gramian(self, metric: Metric | None = None) -> Tensor:
        """The inner products; with a metric, those of gradients whose entries are scaled by it."""
        return _total(gramian(stack) for stack in self._scaled(metric))

    def _scaled(self, metric: Metric | None) -> list[Tensor]:
        if metric is None:
            return self.stacks
        found = []
        for p, stack in zip(self.params, self.stacks, strict=True):
            scale = metric(p)
            found.append(stack if scale is None else stack * scale.to(stack).flatten().clamp(min=0).sqrt())
        return found

    def matrix(self) -> Tensor:
        """``[m, P]``."""
        return torch.cat(self.stacks, 1)

    def weighted(self, w: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(p, weighted(w, x).view_as(p)) for p, x in zip(self.params, self.stacks, strict=True)]

    def split(self, d: Tensor) -> list[tuple[Tensor, Tensor]]:
        """A direction ``[P]``, parameter by parameter."""
        parts = torch.split(d, [p.numel() for p in self.params])
        return [(p, part.view_as(p)) for p, part in zip(self.params, parts, strict=True)]


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def _total(parts: Any) -> Tensor:
    total: Tensor = sum(parts)
    return total


def _precision(tensors: Sequence[Tensor]) -> float:
    return max((float(torch.finfo(x.dtype).eps) for x in tensors), default=float(torch.finfo(torch.float32).eps))


@dataclass
class Layer:
    """A product ``A W^T + b`` in the graph: what went in, and whose gradient of what came out tells the weights'."""

    node: Any
    weight: Tensor
    bias: Tensor | None
    A: Tensor
    D: Tensor | None = None
    """``[m, B, o]``, once it is known."""


class Layers(Gradients):
    """Products layer by layer: a linear layer's gradients are made, multiplied with each other, and forgotten.

    What is kept are the gradients of the layers' outputs; the weighted sum is one product a layer of theirs with the
    inputs. Parameters of other layers are kept as rows, as are weights that stand in the graph more than once.
    """

    def __init__(self, trunk: Trunk, mean: Mean | None = None) -> None:
        self.mean, self.m = mean, trunk.m
        self.layers = linear_layers(trunk.anatomy, trunk.leaves)
        handled = {id(p) for layer in self.layers for p in (layer.weight, layer.bias) if p is not None}
        self.params = [p for p in trunk.anatomy.shared if id(p) not in handled]
        targets: list[Any] = [GradientEdge(layer.node, 0) for layer in self.layers]
        found = trunk.through([*targets, *self.params], keep=bool(trunk.anatomy.rest))
        n = len(self.layers)
        for k, layer in enumerate(self.layers):
            rows = [row[k] for row in found]
            like = next((g for g in rows if g is not None), None)
            layer.D = None if like is None else _stacked(rows, like, None)
        self.stacks = []
        for k, p in enumerate(self.params):
            own = [_both(found[i][n + k], trunk.direct[i].get(id(p))) for i in range(trunk.m)]
            self.stacks.append(_stacked(own, p, mean).flatten(1))
        outputs = [layer.D for layer in self.layers if layer.D is not None]
        self.precision = _precision([*self.stacks, *outputs])

    def gramian(self) -> Tensor:
        parts = [gramian(stack) for stack in self.stacks]
        parts += [_products(layer, self.mean) for layer in self.layers if layer.D is not None]
        return _total(parts)

    def weighted(self, w: Tensor) -> list[tuple[Tensor, Tensor]]:
        found = [(p, weighted(w, x).view_as(p)) for p, x in zip(self.params, self.stacks, strict=True)]
        for layer in self.layers:
            if layer.D is None:
                continue
            D = weighted(w, layer.D.flatten(1)).view(layer.D.shape[1:])
            parts = [(layer.weight, D.mT @ layer.A)]
            if layer.bias is not None:
                parts.append((layer.bias, D.sum(0)))
            found += [(p, g if self.mean is None else self.mean(g)) for p, g in parts]
        return found


def linear_layers(found: Anatomy, direct: set[int]) -> list[Layer]:
    """The linear layers of the shared part whose parameters stand there once and can be told from the graph."""
    shared = {id(p) for p in found.shared}
    uses = Counter(below for node in found.nodes for below, _ in node.next_functions if below is not None)
    layers = []
    for node in found.nodes:
        place = {"AddmmBackward0": 2, "MmBackward0": 1}.get(node.name())
        if place is None:
            continue
        weight = _leaf(node.next_functions[place][0], uses)
        bias = _leaf(node.next_functions[0][0], uses, through=()) if place == 2 else None
        if weight is None or id(weight) not in shared or id(weight) in direct:
            continue
        if place == 2 and (node._saved_alpha != 1 or node._saved_beta != 1):
            continue
        if bias is not None and (id(bias) not in shared or id(bias) in direct or bias.ndim != 1):
            bias = None
        A = node._saved_mat1 if place == 2 else node._saved_self
        if A is not None:
            layers.append(Layer(node, weight, bias, A))
    return layers


def _leaf(node: Any, uses: Counter[Any], through: tuple[str, ...] = ("TBackward0",)) -> Tensor | None:
    """The parameter behind a transposition, if nothing else uses it."""
    for name in through:
        if node is None or node.name() != name or uses[node] != 1:
            return None
        node = node.next_functions[0][0]
    if node is None or uses[node] != 1:
        return None
    leaf: Tensor | None = getattr(node, "variable", None)
    return leaf


def _products(layer: Layer, mean: Mean | None) -> Tensor:
    """The inner products of the tasks' gradients of one layer, ``D_i^T A``; a bias is an input that is 1.

    With fewer samples than inputs, ``A^T = Q R`` for a small R, and ``D_i^T R^T`` has the same inner products.
    """
    D, A = layer.D, layer.A
    assert D is not None
    m, B, o = D.shape
    wide = torch.promote_types(D.dtype, torch.float32)
    if mean is None and A.shape[1] > B and bool(A.isfinite().all()):
        A = A.to(wide)
        if layer.bias is not None:
            A = torch.cat([A, A.new_ones(B, 1)], 1)
        R = torch.linalg.qr(A.mT, mode="r").R
        return gramian(torch.matmul(D.to(wide).mT, R.mT).flatten(1))
    # some outputs at a time, so that never more than one layer's worth of rows is there
    parts = [D] if mean is not None else torch.split(D, -(-o // m), 2)
    rows = (torch.matmul(part.mT, A).flatten(1) for part in parts)
    total = _total(gramian(row if mean is None else mean(row)) for row in rows)
    if layer.bias is not None:
        sums = D.sum(1)
        total = total + gramian(sums if mean is None else mean(sums))
    return total


class Features(Gradients):
    """The gradients of what the tasks share last; the trunk is passed once, with their weighted sum.

    The Gramian is an upper bound on the true one in the sense of MGDA-UB (arXiv:1810.04650, Theorem 1).
    """

    def __init__(self, trunk: Trunk, mean: Mean | None = None, world: int = 1) -> None:
        self.trunk, self.mean, self.world = trunk, mean, world
        self.stacks = []
        for k in range(len(trunk.edges)):
            rows = [row[k] for row in trunk.incoming]
            like = next((g for g in rows if g is not None), None)
            if like is not None:
                self.stacks.append(_stacked(rows, like, None).flatten(1))
        for p in trunk.anatomy.shared:
            direct = [row.get(id(p)) for row in trunk.direct]
            if any(g is not None for g in direct):
                self.stacks.append(_stacked(direct, p, None).flatten(1))
        self.precision = _precision(self.stacks)

    def gramian(self) -> Tensor:
        G = _total(gramian(stack) for stack in self.stacks)
        return G if self.mean is None else self.mean(G) / self.world

    def weighted(self, w: Tensor) -> list[tuple[Tensor, Tensor]]:
        found = self.trunk.plain(self.trunk.anatomy.shared, w, keep=bool(self.trunk.anatomy.rest))
        return [(p, g if self.mean is None else self.mean(g)) for p, g in found]
