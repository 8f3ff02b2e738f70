"""The global model, and clients' own, measured on each client's rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from steepest.federated.clients import Clients
from steepest.federated.vectors import Vectors
from steepest.tasks.randomness import seeded
from steepest.tasks.task import Task


class Measure:
    """Measures a model on the rows of each client that has some.

    The model runs once over all rows; loss and metrics are taken of each client's part of the output.
    """

    def __init__(self, task: Task, clients: Clients, without: Sequence[int] = ()) -> None:
        self.task, self.clients = task, clients
        self.who = [c for c in clients.able if c not in set(without)]
        rows = torch.cat([clients.own[c] for c in self.who])
        self.spans = np.cumsum([0, *(len(clients.own[c]) for c in self.who)]).tolist()
        self.batch = tuple(t.index_select(0, rows) for t in clients.tensors)

    @torch.no_grad()
    def __call__(self, model: nn.Module, own: Tensor | None = None) -> dict[str, list[float]]:
        """Loss and metrics of each client; ``own``: weights of each client's model, where they have their own."""
        modes = [(module, module.training) for module in model.modules()]
        found: dict[str, list[float]] = {name: [] for name in ("loss", *self.task.metrics)}
        vectors = Vectors(model)
        held = vectors.flat(model)
        try:
            model.eval()
            with seeded(0, "evaluate"):
                whole: Any = None if own is not None else self._forward(model)
                for place, (a, b) in enumerate(zip(self.spans[:-1], self.spans[1:], strict=True)):
                    batch = tuple(t[a:b] for t in self.batch)
                    if own is not None:
                        vectors.put(own[place].to(vectors.dtype), model)
                        output: Any = self.task.forward(model, batch)
                    else:
                        output = self.task.forward(model, batch) if whole is None else _cut(whole, a, b)
                    found["loss"].append(float(self.task.loss(output, batch)))
                    for name, metric in self.task.metrics.items():
                        found[name].append(float(metric(output, batch)))
        finally:
            for module, mode in modes:
                module.training = mode
            if own is not None:
                vectors.put(held, model)
        return found

    def _forward(self, model: nn.Module) -> Any:
        """The output for all rows, in parts; None where outputs are no rows that can be told apart."""
        parts = []
        for rows in torch.split(torch.arange(len(self.batch[0])), 4096):
            parts.append(self.task.forward(model, tuple(t[rows] for t in self.batch)))
            if not all(isinstance(x, Tensor) and x.ndim and len(x) == len(rows) for x in pytree.tree_leaves(parts[-1])):
                return None
        return pytree.tree_map(lambda *own: torch.cat(own), *parts)


def _cut(output: Any, a: int, b: int) -> Any:
    return pytree.tree_map(lambda t: t[a:b], output)


def spread(values: Sequence[float], goal: str) -> dict[str, float]:
    """Of the clients' values: mean, standard deviation, and the means of the worst and best tenth.

    >>> spread([0.0, 1.0, 2.0, 3.0], "min")["worst_tenth"]
    3.0
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    if not np.isfinite(x).all():
        return dict.fromkeys(("mean", "sd", "worst_tenth", "best_tenth"), math.nan)
    tenth = max(1, round(len(x) / 10))
    low, high = float(x[:tenth].mean()), float(x[-tenth:].mean())
    worst, best = (high, low) if goal == "min" else (low, high)
    return {"mean": float(x.mean()), "sd": float(x.std()), "worst_tenth": worst, "best_tenth": best}
