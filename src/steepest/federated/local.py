"""What clients compute in a round, one after the other: the plain loop, the truth that the stack is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from steepest.core.scheduled import schedule
from steepest.federated.clients import Clients, Work
from steepest.federated.vectors import Vectors
from steepest.strategy.value import Strategy
from steepest.tasks.randomness import mix, seed_all
from steepest.tasks.task import Task


@dataclass
class Pull:
    r"""What a method adds to every gradient of its clients: :math:`g \leftarrow g + c_i + \mu\,(y - x)`.

    Args:
        constant: :math:`c_i`, one row a client, or None.
        mu: :math:`\mu \ge 0`.
        anchor: :math:`x`: a vector, or a row a client; None: where the client starts.
    """

    constant: Tensor | None = None
    mu: float = 0.0
    anchor: Tensor | None = None

    @property
    def idle(self) -> bool:
        """Whether it changes nothing."""
        return self.constant is None and not self.mu


@dataclass
class Found:
    """What clients come back with: a row each.

    Args:
        weights: Trained parameters, in the type of the model.
        buffers: By name, the clients in front.
        steps: Steps that were taken; one that the strategy's guard refused is none.
        losses: The mean loss over a client's batches.
    """

    weights: Tensor
    buffers: dict[str, Tensor]
    steps: Tensor
    losses: Tensor


class Engine(Protocol):
    """A way to train the clients of a round."""

    name: str

    def train(self, work: Work, turn: int, start: Tensor, buffers: Mapping[str, Tensor], pull: Pull) -> Found:
        """Train clients from ``start`` (a vector, or a row each)."""


def rate(strategy: Strategy, model: nn.Module, rounds: int) -> Callable[[int], float]:
    """The learning rate of clients in a round: their schedules count rounds."""
    probe: Any = strategy.optimizer(model, steps=rounds)

    def at(turn: int) -> float:
        probe.steps = turn
        schedule(probe)
        return float(probe.param_groups[0].get("lr", 1.0))

    return at


class Loop:
    """Clients one after the other, each with a fresh optimizer of its strategy.

    Args:
        task: Forward pass and loss.
        clients: Their rows.
        strategy: How a client trains.
        rounds: Length of the federation: schedules of a client count rounds.
        seed: Of what is drawn while training (dropout).
    """

    name = "loop"

    def __init__(self, task: Task, clients: Clients, strategy: Strategy, rounds: int, seed: int) -> None:
        self.task, self.clients, self.strategy, self.rounds, self.seed = task, clients, strategy, rounds, seed
        self.model = task.build(seed)
        self.vectors = Vectors(self.model)

    def train(self, work: Work, turn: int, start: Tensor, buffers: Mapping[str, Tensor], pull: Pull) -> Found:
        many = len(work.clients)
        weights = torch.empty(many, self.vectors.size, dtype=self.vectors.dtype)
        parts: dict[str, list[Tensor]] = {name: [] for name in buffers}
        steps, losses = torch.zeros(many, dtype=torch.long), torch.zeros(many, dtype=torch.float64)
        for place in range(many):
            begin = start if start.ndim == 1 else start[place]
            losses[place], steps[place] = self._one(work, place, turn, begin, buffers, pull)
            weights[place] = self.vectors.flat(self.model)
            for name, b in self.model.named_buffers():
                parts[name].append(b.detach().clone())
        return Found(weights, {n: torch.stack(found) for n, found in parts.items()}, steps, losses)

    def _one(
        self, work: Work, place: int, turn: int, start: Tensor, buffers: Mapping[str, Tensor], pull: Pull
    ) -> tuple[float, int]:
        model, client = self.model, int(work.clients[place])
        self.vectors.put(start, model)
        with torch.no_grad():
            for name, b in model.named_buffers():
                b.copy_(buffers[name])
        model.train()
        optimizer: Any = self.strategy.optimizer(model, steps=self.rounds)
        seed_all(mix(self.seed, "client", client, turn))
        own = dict(model.named_parameters())
        held = {name: own[name] for name in self.vectors.names}
        constant = None if pull.constant is None else self.vectors.views(pull.constant[place])
        anchor = start if pull.anchor is None else pull.anchor if pull.anchor.ndim == 1 else pull.anchor[place]
        at = self.vectors.views(anchor.to(self.vectors.dtype))
        total, taken, count = 0.0, 0, int((work.counts[place] > 0).sum())
        for step in range(count):
            batch = self.clients.batch(work, place, step)

            def closure(batch: Any = batch) -> Tensor:
                optimizer.zero_grad()
                loss = self.task.training_loss(model, batch)
                optimizer.backward(loss)
                if not pull.idle:
                    _pulled(held, constant, pull.mu, at)
                return loss

            optimizer.steps = turn  # schedules count rounds
            total += float(optimizer.step(closure).detach())
            taken += optimizer.steps - turn
        if optimizer.averages:
            with optimizer.evaluating():
                end = {name: p.detach().clone() for name, p in held.items()}
            with torch.no_grad():
                for name, p in held.items():
                    p.copy_(end[name])
        return total / max(1, count), taken


@torch.no_grad()
def _pulled(
    held: Mapping[str, Tensor], constant: Mapping[str, Tensor] | None, mu: float, at: Mapping[str, Tensor]
) -> None:
    for name, p in held.items():
        extra = torch.zeros_like(p) if constant is None else constant[name].to(p.dtype)
        if mu:
            extra = extra + mu * (p - at[name])
        p.grad = extra if p.grad is None else p.grad + extra
