"""A member of a fleet: what one run would be, and the run itself while it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steepest.fit.training import Training
from steepest.tasks.data import Data
from steepest.tasks.randomness import get_state, set_state


@dataclass(frozen=True)
class Member:
    """One run of a fleet: the arguments that ``fit`` would get.

    Args:
        strategy: A strategy, or its text.
        seed: Fixes initialisation, data order and what is drawn while training.
        label: What tables call it; empty: the strategy's text.
        folder: Where its records go; None: a folder of the fleet's, or none where the fleet has none.
        steps: Length of the run; None: the fleet's.
        train: Training data of its own (a client's, say), in the shape of the task's; None: the task's.
    """

    strategy: Any
    seed: int = 0
    label: str = ""
    folder: str | Path | None = None
    steps: int | None = None
    train: Data = None


class Lane:
    """A member while it runs: an ordinary training whose tensors may lie in a stack, with random numbers of its own."""

    def __init__(self, number: int, run: Training) -> None:
        self.number = number
        self.run = run
        self.problem: str | None = None
        self.stopped = False
        self.squad: Any = None
        self.every = run.plan.log_every
        self.interval = run.plan.task.eval_interval
        self.steps = run.plan.task.steps
        self.leaves = bool(run.plan.leave)
        self.generator = torch.Generator(device=run.device)
        self._others: dict[str, Any] = {}
        self.take_random()

    def take_random(self) -> None:
        """What the global generators hold now is this member's."""
        self._others = get_state()
        if self.generator.device.type == "cpu":
            self.generator.set_state(self._others["torch"])
        else:
            self.generator.set_state(torch.cuda.get_rng_state(self.generator.device))

    def give_random(self) -> None:
        """Put this member's random states into the global generators, where a checkpoint looks for them."""
        if self.generator.device.type == "cpu":
            self._others["torch"] = self.generator.get_state()
        set_state(self._others)
        if self.generator.device.type != "cpu":
            torch.cuda.set_rng_state(self.generator.get_state(), self.generator.device)

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        if self.problem or self.stopped or self.run.state.step >= self.steps:
            return True
        return self.run.over or (self.leaves and self.run.left() is not None)
