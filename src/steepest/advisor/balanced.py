"""A task judged by all of its losses alike, whatever their units."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from steepest.tasks.task import Split, Task

BALANCED = "balanced"


def placeholder(output: Any, batch: Any) -> Tensor:  # noqa: ARG001
    """Of one batch there is no such number: the losses are averaged first."""
    return batch[0].new_zeros(())  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False, repr=False)
class Balanced(Task):
    """The task, with the geometric mean of its losses over a split as the metric: half of any loss counts alike."""

    def evaluate(self, model: nn.Module, split: Split = "validation") -> dict[str, float]:
        found = super().evaluate(model, split)
        values = [found[name] for name in self.losses]
        bad = not all(v > 0 and math.isfinite(v) for v in values)
        found[BALANCED] = math.nan if bad else math.exp(sum(map(math.log, values)) / len(values))
        return found


def balanced(task: Task) -> Balanced:
    """The same task, judged so."""
    given = {f.name: getattr(task, f.name) for f in fields(Task)}
    given["metrics"] = {**task.losses, **task.metrics, BALANCED: placeholder}
    return Balanced(**{**given, "metric": BALANCED, "goal": "min", "target": None, "optimum": None})
