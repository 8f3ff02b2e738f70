"""Which digit is each node of a graph? Digits that look alike are neighbours; few of them have a label."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steepest.tasks.digits import SOURCE, digits_in_order
from steepest.tasks.measures import cross_entropy, error
from steepest.tasks.registry import builtin
from steepest.tasks.splits import Pair, fraction, split_rows
from steepest.tasks.task import Task

NEIGHBOURS = 8
LABELLED = 0.1


def neighbours(x: Tensor, k: int) -> Tensor:
    """The symmetric adjacency (n, n) in {0, 1}: each row is joined to its ``k`` nearest others.

    Of equally near rows the first counts.

    >>> neighbours(torch.tensor([[0.0], [1.0], [3.0]]), 1)
    tensor([[0., 1., 0.],
            [1., 0., 1.],
            [0., 1., 0.]])
    """
    far = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    nearest = far.argsort(dim=1, stable=True)[:, :k]
    joined = torch.zeros(len(x), len(x)).scatter_(1, nearest, 1.0)
    return torch.maximum(joined, joined.T)


def normalised(adjacency: Tensor) -> Tensor:
    """D^{-1/2} (A + I) D^{-1/2}, where D counts the neighbours of A + I: eigenvalues in (-1, 1]."""
    loops = adjacency + torch.eye(len(adjacency))
    root = loops.sum(1).rsqrt()
    return root[:, None] * loops * root


class GraphNetwork(nn.Module):
    """Two graph convolutions, A relu(A x W + b) V + c, with dropout between them; the graph is part of the model.

    ``A x`` does not change in training, so it is kept in place of ``x``.
    """

    mixed: Tensor
    adjacency: Tensor

    def __init__(self, x: Tensor, adjacency: Tensor, hidden: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.register_buffer("mixed", adjacency @ x, persistent=False)
        self.register_buffer("adjacency", adjacency, persistent=False)
        self.first = nn.Linear(x.shape[1], hidden)
        self.dropout = nn.Dropout(0.5)
        self.second = nn.Linear(hidden, classes)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits (rows, classes) of some nodes; only their rows of the second product are needed."""
        h = self.dropout(F.relu(self.first(self.mixed)))
        logits: Tensor = self.adjacency[rows] @ self.second(h)
        return logits


@functools.cache
def graph() -> tuple[Tensor, Tensor]:
    """The pixels of all digits, and the normalised graph between them; no label is used."""
    x, _ = digits_in_order()
    return x, normalised(neighbours(x, NEIGHBOURS))


def graph_network() -> nn.Module:
    """64-32-10 over 1797 nodes: 2 410 parameters."""
    return GraphNetwork(*graph())


def labelled() -> tuple[Pair, Pair, Pair]:
    """Nodes and labels: a tenth of the digits that are for training, all of validation and test."""
    _, y = digits_in_order()
    (rows, labels), validation, test = split_rows("digits", torch.arange(len(y)), y)
    kept = torch.tensor([fraction(f"digits-graph/{i}") < LABELLED for i in rows.tolist()])
    return (rows[kept], labels[kept]), validation, test


@builtin("digits-graph")
def digits_graph() -> Task:
    """Node classification: digits are joined to their 8 nearest, one in ten of the training digits has a label.

    All nodes are seen in each step, as pixels; the labels of validation and test are not.

    Reason: graph convolution and full batches: the gradient has no noise but that of dropout, and labels are few.
    Source: Kipf and Welling 2016, arXiv:1609.02907, equations 2 and 9; digits as shipped with scikit-learn.
    """
    train, validation, test = labelled()
    return Task(
        name="digits-graph",
        model=graph_network,
        loss=cross_entropy,
        train=train,
        validation=validation,
        test=test,
        metrics={"error": error},
        batch_size=2048,
        steps=300,
        eval_every=15,
        description="Digits as nodes of a graph of 8 nearest neighbours, two graph convolutions, few labels",
        source=SOURCE,
    )
