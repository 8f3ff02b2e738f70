"""Graphs like small molecules, and a number that depends on the whole of each: what its bonds are worth."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steepest.graph.models import GraphNetwork, Layer, Norm, chosen
from steepest.tasks.measures import absolute_error, squared_error
from steepest.tasks.registry import builtin
from steepest.tasks.splits import Pair, split_of
from steepest.tasks.task import Task

VALENCE = (4, 3, 2, 1)
SHARE = (0.7, 0.12, 0.13, 0.05)
SITE = (0.0, -0.5, -1.0, -3.0)
"""Bonds an atom can have, how often it is drawn, and its energy in units of the coupling of a bond: kinds 1 to 4."""
FEWEST, MOST = 8, 16
COUNT = 4000
RING = (5, 6)


def grown(draw: random.Random) -> np.ndarray[Any, Any]:
    """A connected graph of 8 to 16 atoms: a tree within the valences, closed to rings of 5 and 6 where there is room.

    The kind of an atom stands on the diagonal; 1 beside it where two are bound.
    """
    n = draw.randint(FEWEST, MOST)
    graph = np.zeros((MOST, MOST), dtype=np.int64)
    free: list[int] = []
    for i in range(n):
        open_ = [j for j in range(i) if free[j]]
        last_open = sum(free) <= 1 and 0 < i < n - 1
        weights = SHARE[:3] if last_open or not i else SHARE  # an atom of valence 1 would close the last place
        kind = draw.choices(range(len(weights)), weights)[0]
        free.append(VALENCE[kind])
        graph[i, i] = kind + 1
        if i:
            _bind(graph, free, i, draw.choice(open_))
    for _ in range(3):
        i = draw.randrange(n)
        if free[i]:
            far = _distances(graph, i, n)
            closing = [j for j in range(n) if free[j] and far[j] + 1 in RING]
            if closing:
                _bind(graph, free, i, draw.choice(closing))
    return graph


def _bind(graph: np.ndarray[Any, Any], free: list[int], i: int, j: int) -> None:
    graph[i, j] = graph[j, i] = 1
    free[i] -= 1
    free[j] -= 1


def _distances(graph: np.ndarray[Any, Any], start: int, n: int) -> list[int]:
    """Bonds from one atom to each."""
    far, edge, step = [-1] * n, [start], 0
    while edge:
        for i in edge:
            far[i] = step
        step += 1
        edge = [j for j in range(n) if far[j] < 0 and any(graph[i, j] for i in edge)]
    return far


def spectra(graphs: Tensor) -> Tensor:
    """Levels of each molecule in ascending order, (graphs, 16) in float64: eigenvalues of sites and couplings.

    A bond couples by -1. Places without an atom have the level infinity.
    """
    kinds = graphs.diagonal(dim1=1, dim2=2)
    sites = torch.tensor((0.0, *SITE), dtype=torch.float64)[kinds]
    matrix = torch.diag_embed(sites) - (graphs - torch.diag_embed(kinds)).double()
    matrix = matrix + torch.diag_embed(torch.where(kinds > 0, 0.0, 1e3).double())
    levels = torch.linalg.eigvalsh(matrix)
    return torch.where(levels > 500, torch.inf, levels)


def energies(graphs: Tensor) -> Tensor:
    """Per atom: the sum of the lower half of the levels, each of which holds a pair of electrons."""
    levels = spectra(graphs)
    atoms = (graphs.diagonal(dim1=1, dim2=2) > 0).sum(1)
    filled = torch.arange(MOST) < (atoms // 2)[:, None]
    return torch.where(filled, 2 * levels, 0.0).sum(1) / atoms


def composition(graphs: Tensor) -> Tensor:
    """The share of each kind of atom, and one over the number of atoms."""
    kinds = graphs.diagonal(dim1=1, dim2=2)
    atoms = (kinds > 0).sum(1, keepdim=True)
    shares = (kinds[:, :, None] == torch.arange(1, len(VALENCE) + 1)).sum(1) / atoms
    return torch.cat([shares, 1 / atoms], 1).double()


@functools.cache
def splits() -> tuple[Pair, Pair, Pair]:
    """Molecules, and what of their energies the composition does not say, with variance 1 in training.

    That is the distance from the best linear function of the composition, fitted on the training molecules. The
    spectrum decides the split, so that one molecule with its atoms in another order is never in two.
    """
    draw = random.Random(0)
    graphs = torch.from_numpy(np.stack([grown(draw) for _ in range(COUNT)]))
    names = [",".join(str(round(1e5 * level)) for level in row if level < 500) for row in spectra(graphs).tolist()]
    _, first = np.unique(names, return_index=True)
    rows = sorted(first.tolist())
    of = [split_of(f"molecules/{names[i]}", validation=0.15, test=0.15) for i in rows]
    y, known = energies(graphs), composition(graphs)
    train, validation, test = (
        torch.tensor([i for i, s in zip(rows, of, strict=True) if s == split])
        for split in ("train", "validation", "test")
    )
    y = y - known @ torch.linalg.lstsq(known[train], y[train], driver="gelsd").solution
    y = (y / y[train].std(correction=0)).float()
    return (graphs[train], y[train]), (graphs[validation], y[validation]), (graphs[test], y[test])


def network(layer: Layer, norm: Norm) -> nn.Module:
    """Four convolutions of width 32 with a skip around each, mean and sum over atoms, a perceptron."""
    return GraphNetwork(len(VALENCE), layer, norm=norm)


@builtin("molecules")
def molecules(layer: str = "gin", norm: str = "graph") -> Task:
    """Regression on some 3900 random graphs like small molecules: the part of the energy that is in their shape.

    A molecule has 8 to 16 atoms of four kinds, bound within their valences, with rings of 5 and 6. Its levels are
    the eigenvalues of a matrix of sites and bonds (a tight-binding model with made-up sites), and its energy is the sum
    of the lower half, so the answer is exact. What a linear function of the composition says is taken away first.

    Args:
        layer: ``"gcn"``, ``"sage"``, ``"gat"`` or ``"gin"``.
        norm: What stands behind each convolution: ``"none"``, ``"batch"``, ``"pair"`` or ``"graph"``.

    Reason: a number for a whole graph, in batches of many graphs, with a norm over each graph.
    Source: Hückel 1931, doi:10.1007/BF01339530 (the model); Xu et al. 2018, arXiv:1810.00826 (GIN).
    """
    train, validation, test = splits()
    return Task(
        name="molecules",
        model=functools.partial(network, chosen(layer, Layer, "layer"), chosen(norm, Norm, "norm")),
        loss=squared_error,
        train=train,
        validation=validation,
        test=test,
        metrics={"absolute": absolute_error},
        batch_size=64,
        steps=600,
        eval_every=50,
        description=f"Graphs like molecules, the energy in their shape, {layer} network of depth 4",
        source="Drawn from a fixed seed: graphs like molecules, and their exact spectra",
    )
