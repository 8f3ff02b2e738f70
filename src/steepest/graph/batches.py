"""Mini-batches of one graph: each step sees some labelled nodes and the part of the graph around them.

What a batch draws depends on (seed, epoch, batch) alone, as everywhere (:mod:`steepest.tasks.data`): a run that goes on
from a checkpoint gets the parts that it would have got.

torch_geometric's loaders need packages beside it: ``NeighborLoader`` pyg-lib or torch-sparse, ``ClusterData`` METIS
inside one of them. Here is plain torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from steepest.core.errors import did_you_mean
from steepest.graph.adjacency import Adjacency, Form, GraphError, compressed, normalised
from steepest.tasks.data import Data

KINDS = ("full", "random_nodes", "neighbours")
EXAMPLES = "There are 'full', 'random_nodes:4' (parts) and 'neighbours:32:10,5' (labelled nodes, neighbours by layer)."


class Part(NamedTuple):
    """A part of a graph.

    Args:
        nodes: Which nodes of the whole graph it has, ascending.
        edges: (2, edges): from, to; numbered within the part.
        values: What a neighbour counts, one an edge; None: the layer says.
    """

    nodes: Tensor
    edges: Tensor
    values: Tensor | None

    def matrix(self) -> Adjacency:
        """What layers multiply by."""
        return Adjacency(self.edges, len(self.nodes), "sum", self.values)


Batch = tuple[Tensor, Tensor, Part]
"""The labelled nodes by their place in the part, their labels, and the part."""


class RandomNodes:
    r"""Some labelled nodes, a random share of all others, and every edge between these.

    The matrix is normalised within the part, as if nothing else existed: edges to the rest are lost, and a layer's sum
    over them with it, so its mean over batches is another one than the whole graph's.

    Args:
        rows: Labelled nodes.
        labels: One a row.
        edges: Of the whole graph, both directions.
        nodes: How many it has.
        form: What layers multiply by; None: nothing (attention).
        share: Of the nodes without a label that a batch has, in (0, 1].

    Differs from: torch_geometric's ``RandomNodeLoader``, which deals out all nodes alike, so that a batch may have no
    label. Source: the simplest baseline of Chiang et al. 2019, arXiv:1905.07953, section 3.1 (a random partition).
    """

    def __init__(
        self, rows: Tensor, labels: Tensor, edges: Tensor, nodes: int, form: Form | None, share: float
    ) -> None:
        self.rows, self.labels, self.edges, self.nodes, self.form = rows, labels, edges, nodes, form
        labelled = torch.zeros(nodes, dtype=torch.bool)
        labelled[rows] = True
        self.others = (~labelled).nonzero()[:, 0]
        self.count = round(share * len(self.others))

    def __call__(self, items: Sequence[int]) -> Batch:
        """The batch of these labelled nodes."""
        chosen = torch.as_tensor(items)
        drawn = self.others[torch.randperm(len(self.others))[: self.count]]
        nodes, place = _numbered(torch.cat([self.rows[chosen], drawn]), self.nodes)
        edges = place[self.edges]
        edges, values = edges[:, (edges >= 0).all(0)], None
        if self.form is not None:
            start, end, values = normalised(edges, len(nodes), self.form, torch.ones(edges.shape[1]))
            edges = torch.stack([start, end])
        return place[self.rows[chosen]], self.labels[chosen], Part(nodes, edges, values)


class Neighbours:
    r"""Some labelled nodes, some of their neighbours, some of those that they have, and so on.

    Of the neighbours :math:`N(i)` of a node :math:`k` are drawn without replacement (all, where there are no more),
    and each counts :math:`|N(i)| / k` times what it counts in the whole graph:

    .. math:: \operatorname{E} \frac{|N(i)|}{k} \sum_{j \in S} a_{ij} h_j = \sum_{j \in N(i)} a_{ij} h_j

    so one sum over neighbours is right on the mean (what a nonlinearity makes of it is not), and with
    :math:`k \ge |N(i)|` the labelled nodes get what the whole graph gives them.

    Args:
        rows, labels, edges, nodes, form: As for :class:`RandomNodes`.
        counts: How many neighbours of a node: of the labelled ones, of these, ...; as many numbers as layers.

    Differs from: torch_geometric's ``NeighborLoader``, where GCN's layers normalise by the degrees within the sample.
    Source: Hamilton et al. 2017, arXiv:1706.02216, Algorithm 2; the factor: Chen, Zhu and Song 2018, arXiv:1710.10568
    (their estimator NS).
    """

    def __init__(
        self, rows: Tensor, labels: Tensor, edges: Tensor, nodes: int, form: Form | None, counts: Sequence[int]
    ) -> None:
        self.rows, self.labels, self.nodes, self.counts = rows, labels, nodes, tuple(counts)
        self.form = form
        start, end, values = edges[0], edges[1], torch.ones(edges.shape[1])
        self.loop: Tensor | None = None
        if form is not None:
            start, end, values = normalised(edges, nodes, form, values)
        if form == "symmetric":  # the loops stand behind the edges
            start, end, values, self.loop = start[:-nodes], end[:-nodes], values[:-nodes], values[-nodes:]
        self.first, self.neighbour, self.value = compressed(end, start, values, nodes)

    def __call__(self, items: Sequence[int]) -> Batch:
        """The batch of these labelled nodes."""
        chosen = torch.as_tensor(items)
        seen = torch.zeros(self.nodes, dtype=torch.bool)
        frontier = self.rows[chosen]
        seen[frontier] = True
        found = []
        for count in self.counts:
            start, end, values = self._drawn(frontier, count)
            found.append((start, end, values))
            frontier = torch.unique(start[~seen[start]])
            seen[frontier] = True
        start, end, values = (torch.cat(parts) for parts in zip(*found, strict=True))
        nodes, place = _numbered(seen.nonzero()[:, 0], self.nodes)
        edges = place[torch.stack([start, end])]
        if self.loop is not None:
            loops = torch.arange(len(nodes))
            edges, values = torch.cat([edges, torch.stack([loops, loops])], 1), torch.cat([values, self.loop[nodes]])
        part = Part(nodes, edges, None if self.form is None else values)
        return place[self.rows[chosen]], self.labels[chosen], part

    def _drawn(self, nodes: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """From, to and value of at most ``count`` edges into each of the nodes."""
        first, degree = self.first[nodes].long(), (self.first[nodes + 1] - self.first[nodes]).long()
        of = torch.arange(len(nodes)).repeat_interleave(degree)
        begin = degree.cumsum(0) - degree
        number = torch.arange(len(of)) - begin[of]
        order = torch.rand(len(of), dtype=torch.float64).argsort()
        order = order[of[order].argsort(stable=True)]  # each node's edges side by side again, in random order
        order = order[number < count]
        at, to = first[of[order]] + number[order], of[order]
        factor = degree[to] / degree[to].clamp(max=count)
        return self.neighbour[at].long(), nodes[to], self.value[at] * factor.to(self.value.dtype)


def _numbered(nodes: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Nodes in ascending order, and for every node of the graph its place among them; -1 where it is not."""
    nodes = nodes.sort().values
    place = torch.full((total,), -1)
    place[nodes] = torch.arange(len(nodes))
    return nodes, place


def batched(
    batch: str, train: tuple[Tensor, Tensor], edges: Tensor, nodes: int, *, form: Form | None, depth: int
) -> Data:
    """Training data of a graph task: all labelled nodes at once, or mini-batches of them.

    Args:
        batch: ``"full"``; ``"random_nodes:4"``: a quarter of the labelled nodes with a quarter of the others;
            ``"neighbours:32:10,5"``: 32 labelled nodes with 10 neighbours each, and 5 of each of these.
        train: Labelled nodes and their labels.
        edges: Of the whole graph, both directions.
        nodes: How many it has.
        form: What the layers multiply by; None: nothing.
        depth: How many layers there are.

    >>> ring = torch.stack([torch.arange(12), (torch.arange(12) + 1) % 12])
    >>> data = batched("neighbours:2:1,1", (torch.arange(6), torch.zeros(6)), ring, 12, form="mean", depth=2)
    >>> len(data), len(data.dataset)
    (3, 6)
    """
    kind, *numbers = batch.split(":")
    if kind not in KINDS:
        raise GraphError(f"no batch {batch!r}. {did_you_mean(kind, KINDS)} {EXAMPLES}")
    if kind == "full" and not numbers:
        return train
    rows, labels = train
    given = [_whole(number, batch) for number in ",".join(numbers).split(",")]
    make: Callable[[Sequence[int]], Batch]
    if kind == "random_nodes" and len(given) == 1:
        size, make = len(rows) // given[0], RandomNodes(rows, labels, edges, nodes, form, 1 / given[0])
    elif kind == "neighbours" and len(numbers) == 2 and len(given) == depth + 1:
        size, make = min(given[0], len(rows)), Neighbours(rows, labels, edges, nodes, form, given[1:])
    else:
        raise GraphError(f"batch {batch!r} does not fit a network of {depth} layers. {EXAMPLES}")
    if not size:
        raise GraphError(f"batch {batch!r} makes {given[0]} parts of {len(rows)} labelled nodes. Take fewer parts.")
    items: Any = range(len(rows))
    return DataLoader(items, size, shuffle=True, drop_last=True, collate_fn=make)


def _whole(text: str, batch: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise GraphError(f"batch {batch!r}: {text!r} is no whole number of at least 1.")
    return int(text)


def over_part(model: nn.Module, batch: Any) -> Any:
    """The forward pass over a batch's part of the graph, or over the whole where it names none (in evaluations)."""
    return model(batch[0], *batch[2:])
