"""The table of real learning curves (made by benchmarks/curves.py) as objectives that cost microseconds."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import steepest

FILE = Path(__file__).with_name("data") / "curves.npz"
SPACES = {
    "adamw": "adamw(lr=log(1e-4, 1.0), betas=(near_one(0.5, 0.98), 0.999), weight_decay=log(1e-2, 1.0))"
    " | warmup_cosine(warmup=0.1) | clip_norm(log(0.1, 10.0))",
    "sgd": "sgd(lr=log(1e-3, 10.0), momentum=near_one(0.5, 0.98), nesterov=True, weight_decay=log(1e-5, 1e-2))"
    " | warmup_cosine(warmup=0.1) | clip_norm(log(0.1, 10.0))",
}
ORDER = {
    "adamw": ("adamw.lr", "adamw.weight_decay", "adamw.beta1", "clip_norm.max_norm"),
    "sgd": ("sgd.lr", "sgd.weight_decay", "sgd.momentum", "clip_norm.max_norm"),
}
"""The axes of the table, by path in the space. The grid is even in each dimension's own scale."""


@functools.cache
def about() -> dict[str, Any]:
    """How the table was made: tasks, grids, lengths, versions."""
    with np.load(FILE) as saved:
        found: dict[str, Any] = json.loads(str(saved["about"]))
    return found


@functools.cache
def _curves(name: str) -> np.ndarray[Any, Any]:
    with np.load(FILE) as saved:
        return np.asarray(saved[name], dtype=np.float64)


@dataclass(frozen=True)
class Table:
    """One task and one rule: the validation loss of complete runs of several lengths, at any point of :attr:`space`.

    Between the points of the grid the logarithm of the loss is interpolated (linear in every dimension, on its own
    scale), so the values on the grid are the measured ones. What diverged at the nearest point of the grid is NaN.
    """

    task: str
    rule: str

    @property
    def space(self) -> Any:
        return steepest.space(SPACES[self.rule])

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of complete runs; the last one is the full length."""
        return tuple(about()["lengths"])

    @property
    def full(self) -> int:
        return self.lengths[-1]

    @functools.cached_property
    def _logs(self) -> np.ndarray[Any, Any]:
        with np.errstate(invalid="ignore", over="ignore"):
            return np.log(_curves(f"{self.task}/{self.rule}"))

    @functools.cached_property
    def _axes(self) -> tuple[tuple[str, Any, int], ...]:
        dimensions = self.space.dimensions
        return tuple((path, dimensions[path], n) for path, n in zip(ORDER[self.rule], self._logs.shape, strict=False))

    def curve(self, point: Mapping[str, Any], steps: int | None = None, seed: int = 0) -> np.ndarray[Any, Any]:
        """The validation loss at ten even places of a complete run; seeds beyond the third one come round again."""
        length = self.lengths.index(steps or self.full)
        rows, weights = [], []
        for path, dimension, n in self._axes:
            place = min(max(dimension.place(point[path]), 0.0), 1.0) * (n - 1)
            low = min(int(place), n - 2)
            rows.append((low, low + 1))
            weights.append((1 - (place - low), place - low))
        cells = self._logs[np.ix_(*rows)][..., seed % self._logs.shape[-3], length, :]
        corners = itertools.product((0, 1), repeat=len(rows))
        weighed = [(math.prod(w[c] for w, c in zip(weights, corner, strict=True)), cells[corner]) for corner in corners]
        nearest = max(weighed, key=lambda pair: pair[0])[1]
        if not np.isfinite(nearest[-1]):
            return np.exp(nearest)
        sound = [(weight, cell) for weight, cell in weighed if weight and np.isfinite(cell[-1])]
        return np.exp(sum(weight * cell for weight, cell in sound) / sum(weight for weight, _ in sound))

    def __call__(self, point: Mapping[str, Any], steps: int | None = None, seed: int = 0) -> float:
        """The validation loss at the end of a complete run."""
        return float(self.curve(point, steps, seed)[-1])

    @functools.cached_property
    def best(self) -> float:
        """The smallest loss of the grid at full length, as the mean over seeds."""
        return float(np.nanmin(np.exp(self._logs[..., -1, -1]).mean(-1)))


def tables() -> list[Table]:
    """All of them."""
    return [Table(task, rule) for task, rule in about()["tables"]]
