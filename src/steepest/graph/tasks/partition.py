"""Communities planted in a random graph: edges and features each say a little, together they say enough."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from steepest.graph.adjacency import GraphError, undirected
from steepest.graph.batches import batched, over_part
from steepest.graph.models import FORMS, Layer, NodeNetwork, Norm, chosen
from steepest.tasks.measures import cross_entropy, error
from steepest.tasks.registry import builtin
from steepest.tasks.splits import fraction, split_rows
from steepest.tasks.task import Task, first_of_batch

CLASSES, FEATURES, LABELLED = 6, 32, 0.1
INSIDE, OUTSIDE = 5.0, 5.0
"""Mean number of neighbours in one's own community and in all others together."""
SIGNAL = 0.35
"""Distance of a community's mean from the origin in one coordinate, in standard deviations of the noise."""


@functools.cache
def planted(nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features, edges and communities; drawn once, the same for every seed of a run."""
    generator = torch.Generator().manual_seed(nodes)

    def uniform(n: int) -> Tensor:
        return torch.randint(nodes, (n,), generator=generator)

    y = torch.arange(nodes) % CLASSES
    count = round(nodes * INSIDE / 2)
    start = uniform(count)
    end = start % CLASSES + CLASSES * torch.randint(nodes // CLASSES, (count,), generator=generator)
    pairs = [torch.stack([start, end])]
    # of pairs drawn at random, a share of 1/CLASSES lies inside
    between = torch.stack([uniform(n := round(nodes * OUTSIDE / 2 * CLASSES / (CLASSES - 1))), uniform(n)])
    pairs.append(between[:, y[between[0]] != y[between[1]]])
    means = torch.randn(CLASSES, FEATURES, generator=generator)
    x = SIGNAL * means[y] + torch.randn(nodes, FEATURES, generator=generator)
    return x, undirected(torch.cat(pairs, 1)), y


def network(nodes: int, layer: Layer, depth: int, norm: Norm) -> nn.Module:
    """Convolutions 32-32-...-6 over the planted graph."""
    x, edges, _ = planted(nodes)
    return NodeNetwork(x, edges, CLASSES, layer, depth=depth, norm=norm)


@builtin("gcn-partition")
def gcn_partition(
    layer: str = "gcn", depth: int = 2, norm: str = "none", nodes: int = 3000, batch: str = "full"
) -> Task:
    """Six communities of a random graph of 3000 nodes: which one is each node in? One node in 17 has a label.

    A node has 5 neighbours in its own community and 5 elsewhere on average, and a vector of 32 numbers whose mean
    depends on its community a little.

    Args:
        layer: ``"gcn"``, ``"sage"``, ``"gat"`` or ``"gin"``.
        depth: Convolutions, >= 2.
        norm: What stands between them: ``"none"``, ``"batch"``, ``"pair"`` or ``"graph"``.
        nodes: A multiple of 6, >= 600.
        batch: ``"full"``, ``"random_nodes:4"`` or ``"neighbours:32:10,5"`` (:func:`steepest.graph.batches.batched`).

    Reason: a graph network of the usual size on the usual problem, with full batches and few labels.
    Source: Holland, Laskey and Leinhardt 1983, doi:10.1016/0378-8733(83)90021-7 (block model); Kipf and Welling 2016,
    arXiv:1609.02907 (network).
    """
    kind, between = chosen(layer, Layer, "layer"), chosen(norm, Norm, "norm")
    if nodes < 600 or nodes % CLASSES or depth < 2:
        raise GraphError(f"gcn-partition needs depth >= 2 and nodes a multiple of {CLASSES}, >= 600; "
                         f"given depth={depth}, nodes={nodes}.")  # fmt: skip
    _, edges, y = planted(nodes)
    (rows, labels), validation, test = split_rows("gcn-partition", torch.arange(nodes), y)
    kept = torch.tensor([fraction(f"gcn-partition/label/{i}") < LABELLED for i in rows.tolist()])
    return Task(
        name="gcn-partition",
        model=functools.partial(network, nodes, kind, depth, between),
        loss=cross_entropy,
        train=batched(batch, (rows[kept], labels[kept]), edges, nodes, form=FORMS.get(kind), depth=depth),
        forward=first_of_batch if batch == "full" else over_part,
        validation=validation,
        test=test,
        metrics={"error": error},
        batch_size=max(4096, nodes),
        steps=200,
        eval_every=10,
        description=f"Planted partition of {nodes} nodes in {CLASSES}, {layer} network of depth {depth}, few labels",
        source="Drawn from a fixed seed: a planted partition with features",
        facts={"chance": math.log(CLASSES)},
    )
