"""The strategy step of members: what all ways of taking it have in common, and the plain one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor

from steepest.core.errors import NonFiniteError
from steepest.fleet.members import Lane
from steepest.fleet.stack import Stack

Gradients = Mapping[str, Tensor | None]


class Squad(ABC):
    """Members that stand side by side in a stack, from row ``low`` on, and take their steps together."""

    def __init__(self, lanes: Sequence[Lane], stack: Stack, low: int) -> None:
        self.lanes = list(lanes)
        self.stack = stack
        self.low = low
        self.row = {lane.number: row for row, lane in enumerate(lanes)}
        self.refusals: dict[int, str] = {}
        for lane in lanes:
            lane.squad = self

    @abstractmethod
    def step(self, gradients: Gradients, losses: Tensor) -> None:
        """One step of every member, with stacked gradients and losses of the whole stack."""

    @abstractmethod
    def metrics(self, lane: Lane) -> dict[str, float]:
        """What a member's last step knows of itself."""

    @abstractmethod
    def rate(self, lane: Lane) -> float:
        """The learning rate of a member's last step."""

    @abstractmethod
    def settle(self, lane: Lane) -> None:
        """Let the member's own optimizer hold all that has happened."""

    @abstractmethod
    def skipped(self, lane: Lane) -> bool:
        """Whether the member's last step was refused."""

    @property
    def calm(self) -> bool:
        """Whether it is known that no member's last step was refused."""
        return False

    def problem(self, lane: Lane) -> str | None:
        """Why a member's strategy stops the run, if it does."""
        return self.refusals.get(lane.number)

    def release(self, lane: Lane) -> None:
        """Let a member go, with tensors of its own."""
        self.settle(lane)
        for state in lane.run.optimizer.state.values():  # type: ignore[attr-defined]
            for name, value in state.items():
                if isinstance(value, Tensor):
                    state[name] = value.clone()

    def stopped_by(self, lane: Lane, error: NonFiniteError) -> None:
        """Keep what a strategy that stops the run has said."""
        self.refusals[lane.number] = f"{error}".rstrip(".")


class Own(Squad):
    """Each member by its own optimizer, on its rows: any strategy whatever that takes one gradient a step."""

    def step(self, gradients: Gradients, losses: Tensor) -> None:
        for row, lane in enumerate(self.lanes, self.low):
            model, optimizer = lane.run.model, lane.run.optimizer
            for name, p in model.named_parameters():
                g = gradients.get(name)
                p.grad = None if g is None else g[row]
            try:
                optimizer.step(partial(losses.__getitem__, row))
            except NonFiniteError as error:
                self.stopped_by(lane, error)
            for p in model.parameters():
                p.grad = None

    def metrics(self, lane: Lane) -> dict[str, float]:
        return dict(lane.run.optimizer.metrics)

    def skipped(self, lane: Lane) -> bool:
        return bool(lane.run.optimizer.metrics.get("skipped"))

    def rate(self, lane: Lane) -> float:
        return float(lane.run.optimizer.param_groups[0]["lr"])

    def settle(self, lane: Lane) -> None:
        pass
