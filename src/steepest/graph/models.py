"""Graph networks made of torch_geometric's layers, over one graph (a class for each node) or many (a number for each).

The graph is part of the model: its nodes are what a batch names, so a batch is rows of indices as everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steepest.core.errors import did_you_mean
from steepest.graph.adjacency import Adjacency, Form, GraphError
from steepest.graph.batches import Part
from steepest.graph.geometric import geometric

Layer = Literal["gcn", "sage", "gat", "gin"]
Norm = Literal["none", "batch", "pair", "graph"]
FORMS: dict[str, Form] = {"gcn": "symmetric", "sage": "mean", "gin": "sum"}
"""What the layers multiply by; attention makes its own weights and needs the edges."""
HEADS = 4


def chosen(value: str, kinds: Any, what: str) -> Any:
    """The value, if it is one of a Literal's; else an error that offers the nearest."""
    if value not in get_args(kinds):
        raise GraphError(f"no {what} {value!r}. {did_you_mean(value, get_args(kinds))}")
    return value


def perceptron(inputs: int, outputs: int) -> nn.Module:
    """Two layers, as GIN has them inside a convolution."""
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs))


def convolution(layer: Layer, inputs: int, outputs: int, *, last: bool = False, normalize: bool = True) -> nn.Module:
    """One layer of torch_geometric; ``normalize=False`` tells GCN that its matrix is normalised already."""
    pyg = geometric("nn")
    made: Callable[[], nn.Module] = {
        "gcn": lambda: pyg.GCNConv(inputs, outputs, normalize=normalize),
        "sage": lambda: pyg.SAGEConv(inputs, outputs),
        "gat": lambda: pyg.GATConv(inputs, outputs) if last else pyg.GATConv(inputs, outputs // HEADS, heads=HEADS),
        "gin": lambda: pyg.GINConv(nn.Linear(inputs, outputs) if last else perceptron(inputs, outputs)),
    }[layer]
    return made()


def normalisation(norm: Norm, width: int) -> nn.Module:
    """What stands behind a convolution. The two made for graphs take which graph each node is in.

    Source: PairNorm, Zhao and Akoglu 2019, arXiv:1909.12223; GraphNorm, Cai et al. 2020, arXiv:2009.03294.
    """
    pyg = geometric("nn")
    made: Callable[[], nn.Module] = {
        "none": nn.Identity,
        "batch": lambda: nn.BatchNorm1d(width),
        "pair": pyg.PairNorm,
        "graph": lambda: pyg.GraphNorm(width),
    }[norm]
    return made()


class NodeNetwork(nn.Module):
    """Convolutions over one graph, with normalisation, ReLU and dropout between them; logits of the nodes asked for.

    Args:
        x: Features of all nodes (nodes, features).
        edges: (2, edges), both directions.
        classes: How many there are.
        layer: The convolution.
        hidden: Width.
        depth: Convolutions.
        norm: Behind each convolution but the last.
        dropout: Before each convolution, in [0, 1).
    """

    x: Tensor
    edges: Tensor

    def __init__(
        self,
        x: Tensor,
        edges: Tensor,
        classes: int,
        layer: Layer = "gcn",
        *,
        hidden: int = 32,
        depth: int = 2,
        norm: Norm = "none",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.register_buffer("x", x, persistent=False)
        self.adjacency = Adjacency(edges, len(x), FORMS[layer]) if layer in FORMS else None
        self.register_buffer("edges", edges if self.adjacency is None else edges[:, :0], persistent=False)
        sizes = [x.shape[1], *[hidden] * (depth - 1), classes]
        pairs = list(pairwise(sizes))
        self.layers = nn.ModuleList(
            convolution(layer, a, b, last=i == depth - 1, normalize=False) for i, (a, b) in enumerate(pairs)
        )
        self.norms = nn.ModuleList(normalisation(norm, hidden) for _ in range(depth - 1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor, part: Part | None = None) -> Tensor:
        """Logits (rows, classes); of a part of the graph the rows are numbered within it."""
        h, matrix, edges = self.x, self.adjacency, self.edges
        if part is not None:
            h, edges = h[part.nodes], part.edges
            matrix = None if matrix is None else part.matrix()
        for i, layer in enumerate(self.layers):
            if i:
                h = F.relu(self.norms[i - 1](h))
            h = convolved(layer, self.dropout(h), matrix, edges)
        return h[rows]


def convolved(layer: Any, h: Tensor, adjacency: Adjacency | None, edges: Tensor) -> Tensor:
    """A layer of torch_geometric with its sum over neighbours done by a matrix that is there already, if there is one.

    The layers are as torch_geometric defines them, so their parameters, names and initial values are its own; what
    they compute from edges is the same to rounding (tested).
    """
    out: Tensor
    if adjacency is None:
        out = layer(h, edges)
        return out
    kind = type(layer).__name__
    if kind == "GCNConv":
        out = adjacency(layer.lin(h)) + layer.bias
    elif kind == "SAGEConv":
        out = layer.lin_l(adjacency(h)) + layer.lin_r(h)
    elif kind == "GINConv":
        out = layer.nn(adjacency(h) + (1 + layer.eps) * h)
    else:
        raise GraphError(f"{kind} has no matrix form here: give it edges.")
    return out


class GraphNetwork(nn.Module):
    """Convolutions over many small graphs, then the mean and the sum of the nodes of each, and a perceptron.

    A graph is a square matrix of whole numbers: the kind of node ``i`` (from 1; 0 where there is none) at ``[i, i]``,
    and at ``[i, j]`` whether ``i`` and ``j`` are joined.

    Args:
        kinds: How many kinds of nodes there are.
        layer: The convolution.
        hidden: Width.
        depth: Convolutions.
        norm: Behind each of them.
    """

    def __init__(
        self, kinds: int, layer: Layer = "gin", *, hidden: int = 32, depth: int = 4, norm: Norm = "graph"
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(kinds, hidden)
        self.layers = nn.ModuleList(convolution(layer, hidden, hidden) for _ in range(depth))
        self.norms = nn.ModuleList(normalisation(norm, hidden) for _ in range(depth))
        self.by_graph = norm in ("pair", "graph")
        self.head = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, graphs: Tensor) -> Tensor:
        """A number for each graph."""
        kind, graph, edges = unpacked(graphs)
        h = self.embed(kind - 1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            out = layer(h, edges)
            h = h + F.relu(norm(out, graph, len(graphs)) if self.by_graph else norm(out))
        total = h.new_zeros(len(graphs), h.shape[1]).index_add(0, graph, h)
        nodes = torch.bincount(graph, minlength=len(graphs))[:, None]
        read: Tensor = self.head(torch.cat([total / nodes, total / graphs.shape[1]], 1)).squeeze(1)
        return read


def unpacked(graphs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Kind of each node that there is, the graph it is in, and the edges between them, all graphs in one.

    >>> one = torch.tensor([[3, 1, 0], [1, 2, 0], [0, 0, 0]])
    >>> [t.tolist() for t in unpacked(torch.stack([one, one]))]
    [[3, 2, 3, 2], [0, 0, 1, 1], [[0, 1, 2, 3], [1, 0, 3, 2]]]
    """
    kinds = graphs.diagonal(dim1=1, dim2=2)
    there = kinds > 0
    number = there.flatten().cumsum(0).view_as(there) - 1
    joined = graphs - torch.diag_embed(kinds)
    graph, i, j = joined.nonzero(as_tuple=True)
    return kinds[there], there.nonzero()[:, 0], torch.stack([number[graph, i], number[graph, j]])
