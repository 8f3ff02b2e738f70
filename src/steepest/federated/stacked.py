r"""What clients compute in a round, all at once: a stack of models, each on its own rows, for its own number of steps.

A client whose last batch is not full gets it filled up with copies of that batch's first row :math:`r`. Where the loss
is a mean over rows, the loss of the :math:`n` rows that are its own is

.. math:: L = \frac{B\,L_{\text{filled}} - (B - n)\,L_r}{n},

and so is its gradient: the copies cancel. Whether this holds for a task is tried on a batch; batch norm and dropout,
say, depend on the size of the batch, and such a model is stacked where all batches are full.

A client that has taken all its steps stays in the stack, and what it computes from then on is thrown away: its weights
are taken when its last step is done. Clients are sorted by their number of steps and stacked in blocks, so little is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from steepest.core.errors import NonFiniteError
from steepest.core.trace import flatten
from steepest.federated.clients import Clients, Work
from steepest.federated.errors import FederationError
from steepest.federated.local import Found, Pull
from steepest.federated.vectors import Vectors
from steepest.fleet.abreast import Abreast
from steepest.fleet.forming import kind_of
from steepest.fleet.numbers import NotAlike
from steepest.fleet.obstacle import obstacle, unfed
from steepest.fleet.stack import Stack
from steepest.strategy.value import Strategy
from steepest.tasks.randomness import mix, seeded
from steepest.tasks.task import Task

NUMBERS = 500_000
"""About how many parameters one stack holds: what stays in a processor's cache from step to step."""


class Unstackable(FederationError):
    """Clients that cannot be trained in a stack; the message says why."""


@dataclass
class Seat:
    """A place in the stack, which another client takes each round."""

    number: int
    run: Any
    squad: Any = None


class Crowd(Abreast):
    """Members that step abreast, and can begin anew."""

    def __init__(self, seats: Any, stack: Stack) -> None:
        super().__init__(seats, stack, 0)
        self._own = [dict(part.own) for part in self.parts]
        self._shared = dict(self.shared)
        self.turn = 0
        self.taken = np.zeros(self.members, dtype=np.int64)

    @torch.no_grad()
    def begin(self, turn: int, alike: bool) -> None:
        """Forget all steps; the round gives the place in the schedules. ``alike``: all start from the same weights."""
        self.turn = turn
        self.taken[:] = 0
        for part, own in zip(self.parts, self._own, strict=True):
            part.t[:] = 0
            part.own = dict(own)
            for p, state in zip(part.p, part.states, strict=True):
                leaves = flatten(state)
                for row in range(1 if alike else self.members) if leaves else ():
                    for whole, fresh in zip(leaves, flatten(part.chain.init(p[row])), strict=True):
                        (whole if alike else whole[row]).copy_(fresh)
        self.shared = dict(self._shared)

    def step(self, gradients: Any, losses: Tensor) -> None:
        self.steps[:] = self.turn
        super().step(gradients, losses)
        self.taken += self.steps - self.turn
        if self.refusals:
            raise NonFiniteError(next(iter(self.refusals.values())))


class Stacked:
    """Clients side by side in one stack.

    Args:
        task, clients, strategy, rounds, seed: As for :class:`~steepest.federated.local.Loop`.
        seats: Clients that are trained in a round at most.
        batch: Rows in a batch.
        block: Clients in a stack; None: as many as fit a processor's cache.

    Raises:
        Unstackable: The strategy takes more than one gradient a step, a model cannot be stacked, or the batches are
            of unequal sizes and the loss is no mean over rows.
    """

    name = "stacked"

    def __init__(
        self,
        task: Task,
        clients: Clients,
        strategy: Strategy,
        rounds: int,
        seed: int,
        *,
        seats: int,
        ragged: bool,
        batch: int,
        block: int | None = None,
    ) -> None:
        self.task, self.clients, self.seed = task, clients, seed
        plan: Any = SimpleNamespace(strategy=strategy)
        _refuse(obstacle([plan]))
        model = task.build(seed)
        self.vectors = Vectors(model)
        size = block or max(8, min(128, NUMBERS // self.vectors.size))
        blocks = max(1, -(-seats // size))
        self.size = -(-seats // blocks)
        if ragged and not linear_in_rows(task, clients, seed, batch):
            raise Unstackable(
                "batches of clients have unequal sizes, and the loss is no mean over rows that know nothing of "
                "each other"
            )
        runs = []
        for _ in range(self.size):
            own = copy.deepcopy(model)
            own.train()
            runs.append(SimpleNamespace(model=own, optimizer=strategy.optimizer(own, steps=rounds)))
        first: Any = runs[0].optimizer
        _refuse(unfed(0, first))
        if first.averages:
            raise Unstackable("the strategy evaluates other weights than it trains")
        self.generators = [torch.Generator() for _ in runs]
        seats_ = [Seat(number, run) for number, run in enumerate(runs)]
        self.stack = Stack([run.model for run in runs], self.generators)
        kind: Any = kind_of(seats_[0])  # type: ignore[arg-type]
        try:
            if kind is None:
                raise NotAlike("its rules take one model at a time")
            self.crowd = Crowd(seats_, self.stack)
        except NotAlike as error:
            raise Unstackable(f"the strategy cannot be stacked ({error})") from None
        self._pulled: dict[str, Tensor] = {}
        self._last = torch.empty(self.size, self.vectors.size, dtype=self.vectors.dtype)
        self._parts = self.vectors.views(self._last)
        self._try(batch)

    def _try(self, batch: int) -> None:
        """One pass on made-up work, so that a model that no stack can run is found before the first round."""
        one = self.clients.able[0]
        work = self.clients.work([one], 0, batch, 1)
        whole = tuple(t.index_select(0, work.rows[0, 0]) for t in self.clients.tensors)
        wide = tuple(t.expand(self.size, *t.shape) for t in whole)
        held = {name: b.clone() for name, b in self.stack.buffers.items()}
        try:
            self.stack.compute(self._plain, wide)
        except Exception as error:  # whatever it is: one by one it runs, or shows there
            said = str(error).strip().splitlines()
            raise Unstackable(f"the model cannot be stacked ({said[0] if said else type(error).__name__})") from None
        finally:
            with torch.no_grad():
                for name, b in held.items():
                    self.stack.buffers[name].copy_(b)

    # ---------------------------------------------------------------------------------------------------------- losses

    def _plain(self, model: nn.Module, batch: Any) -> Tensor:
        return self.task.loss(self.task.forward(model, batch), batch)

    def _filled(self, model: nn.Module, batch: Any) -> Tensor:
        *data, n = batch
        return filled(self.task, model, tuple(data), n)

    # --------------------------------------------------------------------------------------------------------- a round

    def train(self, work: Work, turn: int, start: Tensor, buffers: Mapping[str, Tensor], pull: Pull) -> Found:
        many = len(work.clients)
        weights = torch.empty(many, self.vectors.size, dtype=self.vectors.dtype)
        ends = {name: torch.empty(many, *b.shape, dtype=b.dtype) for name, b in buffers.items()}
        steps, losses = torch.zeros(many, dtype=torch.long), torch.zeros(many, dtype=torch.float64)
        order = torch.argsort(work.steps, descending=True, stable=True)
        for block in torch.split(order, self.size):
            self._block(work, turn, start, buffers, pull, block, (weights, ends, steps, losses))
        return Found(weights, ends, steps, losses)

    @torch.no_grad()
    def _block(
        self,
        work: Work,
        turn: int,
        start: Tensor,
        buffers: Mapping[str, Tensor],
        pull: Pull,
        block: Tensor,
        out: tuple[Tensor, dict[str, Tensor], Tensor, Tensor],
    ) -> None:
        weights, ends, steps, losses = out
        seated = torch.cat([block, block[-1:].expand(self.size - len(block))])  # empty seats double the last
        own = work.of(seated)
        lengths = own.steps
        for name, part in self.vectors.views(start if start.ndim == 1 else start[seated]).items():
            self.stack.params[name].copy_(part)
        for name, b in buffers.items():
            self.stack.buffers[name].copy_(b)
        for generator, client in zip(self.generators, own.clients, strict=True):
            generator.manual_seed(mix(self.seed, "client", int(client), turn))
        self.crowd.begin(turn, start.ndim == 1)
        extra = self._extra(pull, start, seated)
        batches, counts = self._batches(own)
        total = torch.zeros(self.size, dtype=torch.float64)
        done = 0
        for step in range(own.rows.shape[1]):
            batch = tuple(t[step] for t in batches)
            loss = self._plain
            if counts is not None:
                batch, loss = (*batch, counts[step]), self._filled
            found, gradients = self.stack.gradients(loss, batch)
            self.crowd.step(gradients if extra is None else self._moved(gradients, extra, pull.mu), found)
            total += torch.where(lengths > step, found.double(), 0.0)
            ready = torch.nonzero(lengths[: len(block)] == step + 1).flatten()
            if len(ready):  # sorted: they stand side by side
                rows = slice(int(ready[0]), int(ready[-1]) + 1)
                for name, part in self._parts.items():
                    part[rows] = self.stack.params[name][rows]
                for name, end in ends.items():
                    end[block[rows]] = self.stack.buffers[name][rows]
                steps[block[rows]] = torch.from_numpy(self.crowd.taken[rows].copy())
                losses[block[rows]] = total[rows] / (step + 1)
                done += len(ready)
        assert done == len(block)
        weights.index_copy_(0, block, self._last[: len(block)])

    def _batches(self, own: Work) -> tuple[list[Tensor], Tensor | None]:
        """All batches of the block, steps in front; and how many rows of each are a client's own, where it matters."""
        steps = own.rows.shape[1]
        every = own.rows.permute(1, 0, 2).reshape(-1)
        shape = (steps, self.size, own.rows.shape[2])
        batches = [t.index_select(0, every).view(*shape, *t.shape[1:]) for t in self.clients.tensors]
        if not own.ragged:
            return batches, None
        counts = own.counts.T.contiguous()
        full = torch.full_like(counts, own.rows.shape[2])
        return batches, torch.where(counts > 0, counts, full).to(self.vectors.dtype)

    def _extra(self, pull: Pull, start: Tensor, seated: Tensor) -> Any:
        """What is added to gradients, in the parameters' shapes; None where nothing is."""
        if pull.idle:
            return None
        constant = None if pull.constant is None else self.vectors.views(pull.constant[seated].to(self.vectors.dtype))
        anchor = start if pull.anchor is None else pull.anchor
        at = self.vectors.views((anchor if anchor.ndim == 1 else anchor[seated]).to(self.vectors.dtype))
        return constant, at

    def _moved(self, gradients: Mapping[str, Tensor | None], extra: Any, mu: float) -> dict[str, Tensor | None]:
        """The gradients with what the method adds to them, in places of their own."""
        constant, at = extra
        found: dict[str, Tensor | None] = {}
        for name in self.vectors.names:
            p, g = self.stack.params[name].detach(), gradients.get(name)
            out = self._pulled.setdefault(name, torch.empty_like(p))
            if mu:
                torch.sub(p, at[name], out=out).mul_(mu)
                if constant is not None:
                    out.add_(constant[name])
            elif constant is not None:
                out.copy_(constant[name])
            found[name] = out if g is None else out.add_(g)
        return found


def filled(task: Task, model: nn.Module, data: tuple[Tensor, ...], n: Tensor) -> Tensor:
    """The loss of the first ``n`` rows of a batch that was filled up with copies of its first."""
    size = data[0].shape[0]
    output = task.forward(model, data)
    whole = task.loss(output, data)
    first = task.loss(pytree.tree_map(lambda t: t[:1], output), tuple(t[:1] for t in data))
    return (size * whole - (size - n) * first) / n


def linear_in_rows(task: Task, clients: Clients, seed: int, batch: int) -> bool:
    """Whether the loss of a filled batch gives that of its own rows, and the gradient too; tried on one batch."""
    widest = max(clients.able, key=lambda c: int(clients.sizes[c]))
    rows = clients.train[widest]
    if len(rows) < 2 or batch < 2:
        return True
    n = min(len(rows), batch) - 1
    some = rows[:n]
    data = tuple(t.index_select(0, some) for t in clients.tensors)
    wide = tuple(torch.cat([t, t[:1].expand(2, *t.shape[1:])]) for t in data)
    found = []
    for way in ("alone", "filled"):
        model = task.build(seed).train()
        with seeded(seed, "filled"):
            try:
                if way == "alone":
                    loss = task.training_loss(model, data)
                else:
                    loss = filled(task, model, wide, torch.tensor(float(n)))
                loss.backward()  # type: ignore[no-untyped-call]
            except Exception:  # a loss that knows nothing of rows
                return False
        grads = [p.grad.double().flatten() for p in model.parameters() if p.grad is not None]
        found.append(torch.cat([loss.detach().double().reshape(1), *grads]))
    return bool(torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-6 * float(found[0].abs().max())))


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise Unstackable(reason.removeprefix("member 0: "))
