"""Small federations: quadratics whose answers are known, and classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steepest.federated.federation import Federation
from steepest.federated.partition import Partition
from steepest.federated.rounds import Rounds
from steepest.tasks.task import Task


class Point(nn.Module):
    """One number."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))

    def forward(self, _: Any) -> Tensor:
        return self.x


def quadratic(a: Sequence[float], b: Sequence[float], rows: Sequence[int] | None = None) -> tuple[Task, Partition]:
    """Client i has ``rows[i]`` times the row (a_i, b_i): its loss is a_i / 2 (x - b_i)^2."""
    rows = rows or [1] * len(a)
    data = torch.tensor([[x, y] for x, y, n in zip(a, b, rows, strict=True) for _ in range(n)], dtype=torch.float64)
    ends = np.cumsum(rows)
    own = [np.arange(end - n, end) for n, end in zip(rows, ends, strict=True)]

    def loss(x: Tensor, batch: Any) -> Tensor:
        return (batch[0][:, 0] / 2 * (x - batch[0][:, 1]) ** 2).mean()

    return Task("point", Point, loss, (data,), (data,), batch_size=1), Partition(own, len(data))


def blobs(
    clients: int = 8, *, layers: Any = None, dtype: torch.dtype = torch.float32, rows: int = 120, width: int = 4
) -> tuple[Task, Partition]:
    """Three classes of points; client i has more rows than client i - 1."""
    g = torch.Generator().manual_seed(1)
    y = torch.randint(0, 3, (rows,), generator=g)
    x = torch.randn(rows, width, generator=g, dtype=torch.float64) + 2 * nn.functional.one_hot(y, width)
    make = layers or (lambda: nn.Sequential(nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, 3)))

    def model() -> nn.Module:
        return make().to(dtype)

    def loss(out: Tensor, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(out, batch[1])

    def accuracy(out: Tensor, batch: Any) -> Tensor:
        return (out.argmax(-1) == batch[1]).double().mean()

    x = x.to(dtype)
    task = Task(
        "blobs",
        model,
        loss,
        (x, y),
        (x[:30], y[:30]),
        (x[30:60], y[30:60]),
        metrics={"accuracy": accuracy},
        batch_size=4,
    )
    share = np.arange(1, clients + 1) / np.arange(1, clients + 1).sum()
    ends = np.round(np.cumsum(share) * rows).astype(int)
    return task, Partition(np.split(np.arange(rows), ends[:-1]), rows)


def opened(fed: Federation, rounds: int = 100) -> Rounds:
    """A federation's rounds, ready to be taken one by one."""
    made = Rounds(fed, rounds, rounds, None, "")
    made.lines = []
    made._prepare()
    return made


def after(task: Task, clients: Partition, method: Any, rounds: int, **more: Any) -> Rounds:
    """A federation after some rounds."""
    made = opened(Federation(task, clients, method, **more), rounds)
    for _ in range(rounds):
        made.round()
    return made


def point(made: Rounds) -> float:
    """Where a quadratic federation stands."""
    return float(made.server.weights()[0])
