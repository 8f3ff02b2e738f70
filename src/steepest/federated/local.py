"""What clients compute in a round, one after the other: the plain loop, the truth that the stack is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from steepest.core.scheduled import schedule
from steepest.federated.clients import Clients, Work
from steepest.federated.features import Lesson, listening
from steepest.federated.moments import Moments, give, taken
from steepest.federated.vectors import Vectors
from steepest.strategy.value import Strategy
from steepest.tasks.randomness import mix, seed_all
from steepest.tasks.task import Task


@dataclass
class Pull:
    r"""What a method makes of its clients' steps: :math:`g \leftarrow g + c_i + \mu\,(y - x)`, and more.

    Args:
        constant: :math:`c_i`, one row a client, or None.
        mu: :math:`\mu \ge 0`.
        anchor: :math:`x`: a vector, or a row a client; None: where the client starts.
        frozen: Names of parameters that are not trained.
        lesson: What is added to the loss, from the model's features.
        share: :math:`\alpha \in [0, 1]`: a step :math:`s` becomes :math:`(1 - \alpha)\,s + d`.
        along: :math:`d`, a vector.
        moments: What clients' rules begin with; then what they remember at the end comes back. None: nothing, and no.
    """

    constant: Tensor | None = None
    mu: float = 0.0
    anchor: Tensor | None = None
    frozen: frozenset[str] = frozenset()
    lesson: Lesson | None = None
    share: float = 0.0
    along: Tensor | None = None
    moments: Moments | None = None

    @property
    def idle(self) -> bool:
        """Whether it changes no gradient."""
        return self.constant is None and not self.mu and not self.frozen

    def of(self, places: Tensor) -> Pull:
        """That of some of the clients."""
        constant = None if self.constant is None else self.constant[places]
        anchor = self.anchor if self.anchor is None or self.anchor.ndim == 1 else self.anchor[places]
        return replace(self, constant=constant, anchor=anchor)


@dataclass
class Found:
    """What clients come back with: a row each.

    Args:
        weights: Trained parameters, in the type of the model. They may lie in memory of the engine's, and hold until
            its clients train anew.
        buffers: By name, the clients in front.
        steps: Steps that were taken; one that the strategy's guard refused is none.
        losses: The mean loss over a client's batches.
        moments: What clients' rules remember, where it was asked for.
    """

    weights: Tensor
    buffers: dict[str, Tensor]
    steps: Tensor
    losses: Tensor
    moments: Tensor | None = None


class Engine(Protocol):
    """A way to train the clients of a round."""

    name: str

    def train(self, work: Work, turn: int, start: Tensor, buffers: Mapping[str, Tensor], pull: Pull) -> Found:
        """Train clients from ``start`` (a vector, or a row each) and ``buffers`` (the same for all, or a row each)."""

    def gradients(
        self, work: Work, step: int, turn: int, at: Tensor, buffers: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Losses and gradients ``(S, D)`` of the clients' batches of one step, at weights (a vector, or a row each).

        Zeros for a client that takes no such step.
        """


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
        moments: list[Tensor] = []
        for place in range(many):
            begin = start if start.ndim == 1 else start[place]
            losses[place], steps[place] = self._one(work, place, turn, begin, buffers, pull, moments)
            weights[place] = self.vectors.flat(self.model)
            for name, b in self.model.named_buffers():
                parts[name].append(b.detach().clone())
        ends = {n: torch.stack(found) for n, found in parts.items()}
        return Found(weights, ends, steps, losses, torch.stack(moments) if moments else None)

    def _put(self, place: int, w: Tensor, buffers: Mapping[str, Tensor]) -> None:
        """Make the model that of a client."""
        self.vectors.put(w if w.ndim == 1 else w[place], self.model)
        with torch.no_grad():
            for name, b in self.model.named_buffers():
                given = buffers[name]
                b.copy_(given if given.ndim == b.ndim else given[place])
        self.model.train()

    def gradients(
        self, work: Work, step: int, turn: int, at: Tensor, buffers: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        many = len(work.clients)
        losses = torch.zeros(many, dtype=torch.float64)
        found = torch.zeros(many, self.vectors.size, dtype=torch.float64)
        own = dict(self.model.named_parameters())
        held = [own[name] for name in self.vectors.names]
        for place in range(many):
            if step >= work.counts.shape[1] or not int(work.counts[place, step]):
                continue
            self._put(place, at.to(self.vectors.dtype), buffers)
            seed_all(mix(self.seed, "client", int(work.clients[place]), turn, step))
            loss = self.task.training_loss(self.model, self.clients.batch(work, place, step))
            grads = torch.autograd.grad(loss, held, allow_unused=True)
            parts = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, held, strict=True)]
            found[place] = torch.cat([g.reshape(-1) for g in parts]).double()
            losses[place] = float(loss.detach())
        return losses, found

    def _one(
        self,
        work: Work,
        place: int,
        turn: int,
        start: Tensor,
        buffers: Mapping[str, Tensor],
        pull: Pull,
        moments: list[Tensor],
    ) -> tuple[float, int]:
        model, client = self.model, int(work.clients[place])
        self._put(place, start, buffers)
        optimizer: Any = self.strategy.optimizer(model, steps=self.rounds)
        if pull.moments is not None:
            give(optimizer, pull.moments)
        seed_all(drawn(self.seed, client, turn, work.part))
        own = dict(model.named_parameters())
        held = {name: own[name] for name in self.vectors.names}
        constant = None if pull.constant is None else self.vectors.views(pull.constant[place])
        anchor = start if pull.anchor is None else pull.anchor if pull.anchor.ndim == 1 else pull.anchor[place]
        at = self.vectors.views(anchor.to(self.vectors.dtype))
        along = None if pull.along is None else self.vectors.views(pull.along.to(self.vectors.dtype))
        total, steps, count = 0.0, 0, int((work.counts[place] > 0).sum())
        for step in range(count):
            batch = self.clients.batch(work, place, step)
            rows = work.rows[place, step, : int(work.counts[place, step])]

            def closure(batch: Any = batch, rows: Tensor = rows) -> Tensor:
                optimizer.zero_grad()
                loss = self._loss(model, batch, rows, pull.lesson)
                optimizer.backward(loss)
                if not pull.idle:
                    _pulled(held, constant, pull.mu, at, pull.frozen)
                return loss

            before = None if along is None else {name: p.detach().clone() for name, p in held.items()}
            optimizer.steps = turn  # schedules count rounds
            total += float(optimizer.step(closure).detach())
            steps += optimizer.steps - turn
            if before is not None and along is not None:
                with torch.no_grad():
                    for name, p in held.items():
                        p.sub_(before[name]).mul_(1 - pull.share).add_(before[name]).add_(along[name])
        if optimizer.averages:
            with optimizer.evaluating():
                end = {name: p.detach().clone() for name, p in held.items()}
            with torch.no_grad():
                for name, p in held.items():
                    p.copy_(end[name])
        if pull.moments is not None:
            moments.append(taken(optimizer))
        return total / max(1, count), steps

    def _loss(self, model: nn.Module, batch: Any, rows: Tensor, lesson: Lesson | None) -> Tensor:
        if lesson is None:
            return self.task.training_loss(model, batch)
        with listening(model, lesson.head) as ear:
            loss = self.task.training_loss(model, batch)
        own = torch.ones(len(rows), dtype=torch.bool)
        return loss + lesson.term(ear.features(len(rows)), tuple(t[rows] for t in lesson.tables), own)


def drawn(seed: int, client: int, turn: int, part: int) -> int:
    """The seed of what a client draws while it trains."""
    return mix(seed, "client", client, turn, part) if part else mix(seed, "client", client, turn)


@torch.no_grad()
def _pulled(
    held: Mapping[str, Tensor],
    constant: Mapping[str, Tensor] | None,
    mu: float,
    at: Mapping[str, Tensor],
    frozen: frozenset[str],
) -> None:
    for name, p in held.items():
        if name in frozen:
            p.grad = None
            continue
        extra = torch.zeros_like(p) if constant is None else constant[name].to(p.dtype)
        if mu:
            extra = extra + mu * (p - at[name])
        if mu or constant is not None:
            p.grad = extra if p.grad is None else p.grad + extra
