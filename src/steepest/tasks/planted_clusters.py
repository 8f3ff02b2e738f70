"""Twenty regressions from one trunk, in four clusters that are known."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from steepest.tasks.randomness import generator
from steepest.tasks.registry import builtin
from steepest.tasks.several import Trunk, combined, regressions
from steepest.tasks.splits import Pair
from steepest.tasks.task import Task

CLUSTERS = (0, 1, 2, 0, 1, 0, 3, 2, 1, 0, 0, 1, 2, 0, 1, 3, 0, 2, 1, 0)
"""The cluster of each task: 8, 6, 4 and 2 of them."""
NAMES = tuple(f"t{i:02}" for i in range(len(CLUSTERS)))
INPUTS, UNITS = 12, 4
OWN = 0.15
"""How much of a task's target is its own, beside what its cluster has in common."""
NOISE = 0.2


def teacher() -> tuple[Tensor, Tensor]:
    """For each cluster its units, and for each task what it makes of them."""
    g = generator("planted-clusters", "teacher")
    units = 1.5 * torch.randn(max(CLUSTERS) + 1, UNITS, INPUTS, generator=g) / INPUTS**0.5
    common = torch.randn(max(CLUSTERS) + 1, UNITS, generator=g)
    own = torch.randn(len(CLUSTERS), UNITS, generator=g)
    return units, common[list(CLUSTERS)] + OWN * own


def samples(split: str, n: int) -> Pair:
    """Inputs, and for each task a target of variance about 1 with some noise."""
    units, readout = teacher()
    g = generator("planted-clusters", split)
    x = torch.randn(n, INPUTS, generator=g)
    h = torch.tanh(torch.einsum("cui,ni->ncu", 2 * units, x))
    y = torch.einsum("ntu,tu->nt", h[:, list(CLUSTERS)], readout)
    spread = 0.8 * readout.norm(dim=1)  # tanh of numbers of size 3 is nearly a sign
    return x, y / spread + NOISE * torch.randn(n, len(CLUSTERS), generator=g)


@builtin("planted-clusters")
def planted_clusters() -> Task:
    """Twenty regressions from one narrow trunk, in four clusters of 8, 6, 4 and 2; the loss is their mean.

    The targets of a cluster are functions of the same four hidden units, and mostly the same function of them; those of
    different clusters have nothing in common and compete for the 24 units of the trunk. ``facts["clusters"]`` says
    which task belongs to which.

    Reason: many tasks in groups that are known: does a method find them, and does it pay to use them.
    Source: made for the purpose; in the manner of the clustered tasks of Evgeniou, Micchelli and Pontil 2005, JMLR 6.
    """
    losses = regressions(NAMES)
    return Task(
        name="planted-clusters",
        model=partial(Trunk, (INPUTS, 24, 24), dict.fromkeys(NAMES, 1)),
        loss=partial(combined, losses=losses, weight=1 / len(NAMES)),
        losses=losses,
        train=samples("train", 1000),
        validation=samples("validation", 400),
        test=samples("test", 400),
        batch_size=64,
        steps=300,
        eval_every=50,
        description="20 regressions in four planted clusters from one trunk 12-24-24",
        source="made for the purpose",
        facts={"clusters": dict(zip(NAMES, CLUSTERS, strict=True))},
    )
