"""Zachary's karate club: who went with whom when it broke apart, from one label a group."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from steepest.graph.batches import batched, over_part
from steepest.graph.geometric import geometric
from steepest.graph.models import FORMS, Layer, NodeNetwork, chosen
from steepest.tasks.measures import cross_entropy, error
from steepest.tasks.registry import builtin
from steepest.tasks.splits import split_of
from steepest.tasks.task import Task, first_of_batch

SOURCE = "Zachary 1977, doi:10.1086/jar.33.4.3629752, as shipped with torch_geometric"


@functools.cache
def club() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features (which member one is), edges, groups, and which members have a label."""
    data = geometric("datasets").KarateClub()[0]
    return data.x, data.edge_index, data.y, data.train_mask


def network(layer: Layer) -> nn.Module:
    """Two convolutions, 34-16-4."""
    x, edges, _, _ = club()
    return NodeNetwork(x, edges, classes=4, layer=layer, hidden=16)


@builtin("karate")
def karate(layer: str = "gcn", batch: str = "full") -> Task:
    """Zachary's karate club: 34 members, four groups found by modularity, one labelled member each.

    Members without a label are divided between validation and test; all are seen in each step, as the graph.

    Args:
        layer: ``"gcn"``, ``"sage"``, ``"gat"`` or ``"gin"``.
        batch: ``"full"``, ``"random_nodes:4"`` or ``"neighbours:32:10,5"`` (:func:`steepest.graph.batches.batched`).

    Reason: the textbook example: two graph convolutions, four labels; too small to compare strategies on.
    Source: Kipf and Welling 2016, arXiv:1609.02907, appendix A; Zachary 1977, doi:10.1086/jar.33.4.3629752.
    """
    kind = chosen(layer, Layer, "layer")
    _, edges, y, labelled = club()
    rest = [i for i in range(len(y)) if not labelled[i]]
    held = [split_of(f"karate/{i}", validation=0.5, test=0.5) for i in rest]
    train = labelled.nonzero()[:, 0]
    validation, test = (torch.tensor([i for i, s in zip(rest, held, strict=True) if s == which])
                        for which in ("validation", "test"))  # fmt: skip
    return Task(
        name="karate",
        model=functools.partial(network, kind),
        loss=cross_entropy,
        train=batched(batch, (train, y[train]), edges, len(y), form=FORMS.get(kind), depth=2),
        forward=first_of_batch if batch == "full" else over_part,
        validation=(validation, y[validation]),
        test=(test, y[test]),
        metrics={"error": error},
        batch_size=64,
        steps=200,
        eval_every=10,
        description=f"Karate club, {layer} network 34-16-4, one label a group",
        source=SOURCE,
    )
