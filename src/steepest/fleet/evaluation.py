"""The validation split for all members in one go."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from steepest.fleet.stack import Stack
from steepest.tasks.data import in_order, to_device
from steepest.tasks.randomness import seeded
from steepest.tasks.task import Task


class Evaluation:
    """Measures a stack as :meth:`steepest.tasks.task.Task.evaluate` does a model; gives up for good if it cannot."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self.task = task
        self.device = device
        self.works = True

    def __call__(self, stack: Stack) -> list[dict[str, float]] | None:
        """Loss and metrics of each member on the validation split; None where it cannot be done for all at once."""
        if not self.works:
            return None
        modes = [(module, module.training) for module in stack.template.modules()]
        generators = stack.generators
        totals: dict[str, Tensor] = {}
        count = 0
        try:
            stack.template.eval()
            stack.generators = []  # what draws at evaluation draws the same for every member: one by one
            with torch.no_grad(), seeded(0, "evaluate"):
                for batch, n in in_order(self.task.validation, self.task.batch_size):
                    found = stack.compute(self._measure, to_device(batch, self.device), shared=True)
                    for name, value in found.items():
                        totals[name] = totals.get(name, 0.0) + n * value.double()
                    count += n
        except Exception:  # whatever it is, one by one it shows
            self.works = False
            return None
        finally:
            stack.generators = generators
            for module, mode in modes:
                module.training = mode
        columns = {name: (total / count).tolist() for name, total in totals.items()}
        return [{name: column[k] for name, column in columns.items()} for k in range(len(stack))]

    def _measure(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        output = self.task.forward(model, batch)
        found = {"loss": self.task.loss(output, batch)}
        for name, metric in self.task.metrics.items():
            found[name] = metric(output, batch)
        return found
