"""The state from which every short run begins, put back bit for bit before each."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from steepest.core.errors import NonFiniteError
from steepest.fit.beginning import seeded
from steepest.fit.carry import carry
from steepest.fit.loop import one_step
from steepest.fit.threads import threads, wanted
from steepest.strategy.value import Strategy
from steepest.tasks.data import to_device
from steepest.tasks.randomness import get_state, mix, seed_all, set_state
from steepest.tasks.task import Task

LAST = 10
"""The loss at the end of a run is the mean over its last tenth, at most so many steps."""
EXPLODED = 1e3
"""A run is lost when its loss is beyond so many times what it began with (or 1, if that is larger)."""
PROBED = 3
"""Steps on which the gradients that a step takes are counted."""
REFUSED = 10
"""So many steps in a row that the NaN guard refused end a run."""


@dataclass(frozen=True)
class Short:
    """A short run: the loss of the same batches before and after, and what went wrong.

    ``begin`` is the mean loss of the last batches under the weights that the run began with; ``end`` that of the same
    batches when the run took them. ``why`` is empty for a run that did not end higher than it began.
    """

    value: float
    seed: int
    begin: float
    end: float
    losses: tuple[float, ...]
    why: str

    @property
    def gain(self) -> float:
        """How far the loss fell."""
        return self.begin - self.end


class Start:
    """Model, optimizer state, random states and place in the data of one seed.

    Args:
        task: What is trained.
        strategy: As it is, for the steps before the test.
        seed: Fixes initialisation, data order and what is drawn while training.
        after: Steps of ordinary training before the test.
        model: Begin from a copy of this model instead of a fresh one.
    """

    def __init__(
        self, task: Task, strategy: Strategy, seed: int, after: int = 0, model: nn.Module | None = None
    ) -> None:
        self.task, self.seed, self.after = task, seed, after
        self.model = task.build(seed) if model is None else copy.deepcopy(model)
        self.batches = task.batches(seed)
        self.epoch = self.batches.steps_per_epoch
        self.device = next(self.model.parameters()).device
        self._begins: dict[int, float] = {}
        self.on_step: Callable[[], None] | None = None
        with self._running():
            seed_all(mix(seed, "training"))
            self.model.train()
            self.modes = [(m, m.training) for m in self.model.modules()]
            own = seeded(strategy, seed)
            optimizer: Any = own.optimizer(self.model, steps=max(task.steps, after), steps_per_epoch=self.epoch)
            for i in range(after):
                one_step(task, self.model, optimizer, to_device(self.batches.batch(i), self.device))
            self.random = get_state()
        self.weights = {n: v.detach().clone() for n, v in self.model.state_dict().items()}
        self.optimizer = copy.deepcopy(optimizer.state_dict()) if after else None

    def restore(self) -> None:
        """Weights, buffers, modes, gradients and random states as they were."""
        self.model.load_state_dict(self.weights)
        for module, mode in self.modes:
            module.training = mode
        self.model.zero_grad()
        set_state(self.random)

    def run(self, strategy: Strategy, steps: int, value: float = math.nan) -> Short:
        """Train for some steps from here; the same strategy gives the same numbers each time."""
        last = max(1, min(LAST, steps // 10))
        begin = self.begin(steps, last)
        losses: list[float] = []
        why, refused = "", 0
        with self._running():
            self.restore()
            optimizer = self._optimizer(strategy, steps)
            for i in range(steps):
                try:
                    loss = one_step(self.task, self.model, optimizer, self._batch(i))
                except NonFiniteError as error:
                    why = str(error).partition(". ")[0]
                    break
                refused = refused + 1 if optimizer.metrics.get("skipped") else 0
                if refused >= REFUSED:
                    why = f"no finite gradient since step {i + 2 - refused}"
                elif not math.isfinite(loss) and not refused:
                    why = f"the loss was not finite at step {i + 1}"
                elif loss > EXPLODED * max(1.0, abs(begin)):
                    why = f"the loss grew to {loss:.3g} by step {i + 1}"
                losses.append(loss)
                if self.on_step is not None:
                    self.on_step()
                if why:
                    break
        end = math.inf if why else sum(losses[-last:]) / last
        if not why and not end <= begin:
            why = f"the loss ended at {end:.3g}, above the {begin:.3g} it began with"
        return Short(value, self.seed, begin, end, tuple(losses), why)

    def gradients(self, strategy: Strategy) -> float:
        """How many gradients a step of a strategy takes here, on average over the first three."""
        with self._running():
            self.restore()
            optimizer = self._optimizer(strategy, PROBED)
            before = optimizer.evaluations
            try:
                for i in range(PROBED):
                    one_step(self.task, self.model, optimizer, self._batch(i))
            except NonFiniteError:
                pass  # the value is the caller's; where it fails, as many as were seen
            self.restore()
            return max(1.0, float(optimizer.evaluations - before) / PROBED)

    def begin(self, steps: int, last: int) -> float:
        """The mean loss of a run's last batches under the weights it begins with."""
        if steps not in self._begins:
            with self._running(), torch.no_grad():
                self.restore()
                found = [float(self.task.training_loss(self.model, self._batch(i))) for i in range(steps - last, steps)]
                self.restore()
            self._begins[steps] = sum(found) / last
        return self._begins[steps]

    def _batch(self, i: int) -> Any:
        return to_device(self.batches.batch(self.after + i), self.device)

    def _optimizer(self, strategy: Strategy, steps: int) -> Any:
        """A fresh optimizer; after some training with the state that this left, and its own hyperparameters."""
        own = seeded(strategy, self.seed)
        made: Any = own.optimizer(self.model, steps=self.after + steps, steps_per_epoch=self.epoch)
        if self.optimizer is not None:
            carry(made, self.optimizer)
        return made

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Inside, draw and warn freely; afterwards the caller's random states are as they were."""
        before = get_state()
        try:
            with threads(wanted(self.model, self.device)), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # skipped steps: they are counted here
                yield
        finally:
            set_state(before)
