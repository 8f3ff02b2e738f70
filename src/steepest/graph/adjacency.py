"""Who is whose neighbour, as a sparse matrix that is made once and multiplied in every step.

Message passing over a list of edges gathers one row an edge, forward and backward: memory and time go with edges times
features. The same sum is a product with a sparse matrix, which never makes those rows. The graph does not change in
training, so what its normalisation needs (degrees, self-loops, roots) is done once too.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steepest.core.errors import SteepestError

Form = Literal["sum", "mean", "symmetric"]


class GraphError(SteepestError, ValueError):
    """Edges that make no graph, or a model that has none."""


class Adjacency(nn.Module):
    r"""A matrix over the edges of a graph; calling it multiplies node features (n, features) by it.

    For an edge from j to i with weight :math:`w_{ij}` (1 unless given) and degrees :math:`d_i = \sum_j w_{ij}`:

    - ``sum``: :math:`w_{ij}` (GIN);
    - ``mean``: :math:`w_{ij} / d_i` (GraphSAGE);
    - ``symmetric``: a loop of weight 1 at every node is added, then :math:`w_{ij} / \sqrt{d_i d_j}` (GCN).

    Args:
        edges: Whole numbers of shape (2, edges): from, to. An undirected edge stands there in both directions.
        nodes: How many nodes there are.
        form: One of the three.
        weights: One a edge, > 0.

    It is a buffer that goes where the model goes, and no part of a checkpoint. Its transpose, which the backward pass
    multiplies by, is kept too where it differs. Memory: 12 bytes an edge in float32, 24 where the transpose differs.
    Source: Kipf and Welling 2016, arXiv:1609.02907, equation 2 (symmetric); Hamilton et al. 2017, arXiv:1706.02216.

    Example:
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # 0 - 1 - 2
        >>> Adjacency(path, 3, "mean")(torch.tensor([[1.0], [10.0], [3.0]])).T
        tensor([[10.,  2., 10.]])
    """

    rows: Tensor
    columns: Tensor
    values: Tensor
    back_rows: Tensor | None
    back_columns: Tensor | None
    back_values: Tensor | None

    def __init__(self, edges: Tensor, nodes: int, form: Form = "symmetric", weights: Tensor | None = None) -> None:
        super().__init__()
        weights = _checked(edges, nodes, weights)
        self.nodes, self.form = nodes, form
        start, end, values = normalised(edges, nodes, form, weights)
        forward, back = compressed(end, start, values, nodes), compressed(start, end, values, nodes)
        same = all(torch.equal(a, b) for a, b in zip(forward, back, strict=True))
        for name, own, other in zip(("rows", "columns", "values"), forward, back, strict=True):
            self.register_buffer(name, own, persistent=False)
            self.register_buffer(f"back_{name}", None if same else other, persistent=False)

    @property
    def symmetric(self) -> bool:
        """Whether the matrix is its own transpose, to the last bit."""
        return self.back_values is None

    def csr(self) -> Tensor:
        """The matrix as torch's sparse tensor, for layers of torch_geometric that take one."""
        return self._made(self.rows, self.columns, self.values)

    def forward(self, x: Tensor) -> Tensor:
        """The matrix times ``x`` (nodes, features)."""
        back = (
            self.csr() if self.back_values is None else self._made(self.back_rows, self.back_columns, self.back_values)
        )
        product: Tensor = _Product.apply(x, self.csr(), back)  # type: ignore[no-untyped-call]
        return product

    def extra_repr(self) -> str:
        return f"{self.nodes} nodes, {len(self.values)} entries, {self.form}"

    def _made(self, rows: Any, columns: Any, values: Any) -> Tensor:
        size = (self.nodes, self.nodes)
        _hush()
        return torch.sparse_csr_tensor(rows, columns, values, size, check_invariants=False)


class _Product(torch.autograd.Function):
    """A sparse matrix times features, whose backward pass is the product with a transpose that is there already.

    torch's own product makes the transpose anew in every backward pass.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, matrix: Tensor, back: Tensor) -> Tensor:
        context.matrix, context.back = matrix, back
        return matrix @ x

    @staticmethod
    def backward(context: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        return _Product.apply(gradients[0], context.back, context.matrix), None, None  # type: ignore[no-untyped-call]


def undirected(pairs: Tensor) -> Tensor:
    """Each pair of different nodes once in either direction, sorted; loops are left out.

    >>> undirected(torch.tensor([[0, 1, 2, 2], [1, 0, 2, 0]])).tolist()
    [[0, 0, 1, 2], [1, 2, 0, 0]]
    """
    both = torch.cat([pairs, pairs.flip(0)], 1)
    once: Tensor = torch.unique(both[:, both[0] != both[1]], dim=1)
    return once


def _checked(edges: Tensor, nodes: int, weights: Tensor | None) -> Tensor:
    if edges.ndim != 2 or edges.shape[0] != 2 or edges.is_floating_point():
        raise GraphError(
            f"edges are whole numbers of shape (2, edges): from, to; given {tuple(edges.shape)} of {edges.dtype}."
        )
    if edges.numel() and not 0 <= int(edges.min()) <= int(edges.max()) < nodes:
        raise GraphError(f"edges name nodes from 0 to {nodes - 1}; given {int(edges.min())} to {int(edges.max())}.")
    weights = torch.ones(edges.shape[1]) if weights is None else weights
    if weights.shape != edges.shape[1:] or not bool((weights > 0).all()):
        raise GraphError(f"weights are one number > 0 an edge, {edges.shape[1]} here; given {tuple(weights.shape)}.")
    return weights


def normalised(edges: Tensor, nodes: int, form: Form, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """From, to and value of each entry, loops last; see :class:`Adjacency`. Degrees are summed in float64."""
    start, end = edges
    if form == "symmetric":
        loops = torch.arange(nodes, device=edges.device)
        start, end = torch.cat([start, loops]), torch.cat([end, loops])
        weights = torch.cat([weights, torch.ones(nodes, dtype=weights.dtype, device=weights.device)])
    degree = torch.zeros(nodes, dtype=torch.float64, device=edges.device).index_add_(0, end, weights.double())
    if form == "mean":
        values = weights.double() / degree[end]
    elif form == "symmetric":
        values = weights.double() * (degree[start] * degree[end]).rsqrt()
    elif form == "sum":
        values = weights.double()
    else:
        raise GraphError(f"form is 'sum', 'mean' or 'symmetric'; given {form!r}.")
    return start, end, values.to(weights.dtype)


def compressed(rows: Tensor, columns: Tensor, values: Tensor, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row pointers, columns and values, sorted, entries of one place added; 32-bit indices are half the reading."""
    place, at = torch.unique(rows * nodes + columns, return_inverse=True)
    summed = torch.zeros(len(place), dtype=values.dtype, device=values.device).index_add_(0, at, values)
    counts = torch.bincount(place // nodes, minlength=nodes)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int(), (place % nodes).int(), summed


@functools.cache
def _hush() -> None:
    """Torch says once a process that its sparse tensors are in beta; that is no news to who trains a graph network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        none = torch.zeros(0)
        torch.sparse_csr_tensor(torch.zeros(2).int(), none.int(), none, (1, 1), check_invariants=False)
