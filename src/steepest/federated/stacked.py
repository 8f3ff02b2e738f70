r"""What clients compute in a round, all at once: a stack of models, each on its own rows, for its own number of steps.

A client that has taken all its steps leaves the stack, and the next one takes its seat: see
:mod:`~steepest.federated.seating`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from steepest.federated.clients import Clients, Work
from steepest.federated.crowd import Crowd, Seat
from steepest.federated.errors import FederationError
from steepest.federated.features import Lesson
from steepest.federated.filling import blanked, filled, ignores_blanks, linear_in_rows, taught
from steepest.federated.local import Found, Pull, drawn
from steepest.federated.pulled import Pulled
from steepest.federated.seating import Change, Seating, best_seats, seated
from steepest.federated.vectors import Vectors
from steepest.fleet.forming import kind_of
from steepest.fleet.numbers import NotAlike
from steepest.fleet.obstacle import obstacle, unfed
from steepest.fleet.stack import Stack
from steepest.strategy.value import Strategy
from steepest.tasks.randomness import mix
from steepest.tasks.task import Task

NUMBERS = 700_000
"""About how many parameters one stack holds: what stays in a processor's cache from step to step."""
BYTES = 8_000_000
"""About how much of the clients' batches is laid out ahead."""


class Unstackable(FederationError):
    """Clients that cannot be trained in a stack; the message says why."""


class Stacked:
    """Clients side by side in one stack.

    Args:
        task, clients, strategy, rounds, seed: As for :class:`~steepest.federated.local.Loop`.
        seats: Clients that are trained in a round at most.
        batch: Rows in a batch.
        lengths: How many steps each client takes, where it is known: then it is reckoned how many stand in a stack.
        size: Seats in a stack; None: what is best for a processor's cache, and for the lengths.

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
        lengths: Sequence[int] = (),
        size: int | None = None,
    ) -> None:
        self.task, self.clients, self.seed = task, clients, seed
        plan: Any = SimpleNamespace(strategy=strategy)
        _refuse(obstacle([plan]))
        model = task.build(seed)
        self.vectors = Vectors(model)
        self.size = size or best_seats(
            lengths, seats, max(8, min(128, NUMBERS // self.vectors.size)), self.vectors.size * batch
        )
        if ragged and not linear_in_rows(task, clients, seed, batch):
            raise Unstackable(
                "batches of clients have unequal sizes, and the loss is no mean over rows that know nothing of "
                "each other"
            )
        self.blanks = ragged and ignores_blanks(task, clients, seed, batch)
        """Whether rows that fill a batch up need only lose their labels."""
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
        self._held = {name: plain(self.stack.params[name]) for name in self.vectors.names}
        self._all = torch.arange(self.size)
        self._room: dict[str, Tensor] = {}
        self._ends = torch.empty(0)
        self._seating: tuple[list[int], Seating] | None = None
        self._lessons: dict[str, Any] = {}
        self._draws = True
        """Whether members draw while they train; where they do not, their generators need no seeds."""
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

    def _taught(self, lesson: Lesson, ragged: bool) -> Any:
        """The loss with a lesson; the same function for the same key, so that passes are recorded once."""
        key = f"{lesson.key}, ragged" if ragged else lesson.key
        if key not in self._lessons:
            self._lessons[key] = taught(self.task, lesson, len(self.clients.tensors), ragged)
        return self._lessons[key]

    # --------------------------------------------------------------------------------------------------------- a round

    def gradients(
        self, work: Work, step: int, turn: int, at: Tensor, buffers: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        many = len(work.clients)
        losses = torch.zeros(many, dtype=torch.float64)
        found = torch.zeros(many, self.vectors.size, dtype=torch.float64)
        alive = torch.nonzero(work.steps > step).flatten()
        for block in torch.split(alive, self.size):
            seated = torch.cat([block, block[-1:].expand(self.size - len(block))])
            self._seat(Change(self._all, seated), at.to(self.vectors.dtype), buffers)
            for generator, client in zip(self.generators, work.clients[seated.numpy()], strict=True):
                generator.manual_seed(mix(self.seed, "client", int(client), turn, step))
            ((loss, batch),) = self._batches(work, seated[None], torch.full((1, self.size), step), None, work.ragged)
            value, gradients = self.stack.gradients(loss, batch)
            for name, place in self.vectors.places.items():
                g = gradients[name]
                if g is not None:
                    found[block, place] = g[: len(block)].reshape(len(block), -1).double()
            losses[block] = value[: len(block)].double()
        return losses, found

    @torch.no_grad()
    def _seat(self, change: Change, start: Tensor, buffers: Mapping[str, Tensor]) -> None:
        """Put clients' weights and buffers into seats."""
        seats, clients = change
        rows = seats.numpy()
        for name, part in self.vectors.views(start if start.ndim == 1 else start[clients]).items():
            self._held[name][rows] = plain(part)
        for name, b in buffers.items():
            whole = self.stack.buffers[name]
            whole[seats] = b if b.ndim < whole.ndim else b[clients]

    @torch.no_grad()
    def train(self, work: Work, turn: int, start: Tensor, buffers: Mapping[str, Tensor], pull: Pull) -> Found:
        plan, many = self._planned(work.steps.tolist()), len(work.clients)
        out = Found(
            self._memory(many),
            {name: torch.empty(many, *b.shape[1:], dtype=b.dtype) for name, b in self.stack.buffers.items()},
            torch.zeros(many, dtype=torch.long),
            torch.zeros(many, dtype=torch.float64),
            None if pull.moments is None else torch.zeros(many, self.crowd.length, dtype=torch.float64),
        )
        pulled = Pulled(pull, start, self.stack, self.vectors, self._room)
        told = torch.empty(plan.who.shape, dtype=torch.float64)
        seeded, drew, before = self._draws, False, self.generators[0].get_state()
        batches = self._batches(work, plan.who, plan.step, pull.lesson, work.ragged)
        for now, (comes, goes, (loss, batch)) in enumerate(zip(plan.comes, plan.goes, batches, strict=True)):
            if comes is not None:
                self._seat(comes, start, buffers)
                self.crowd.begin(turn, start.ndim == 1, comes.seats)
                if pull.moments is not None:
                    self.crowd.give(pull.moments, comes.seats)
                pulled.seat(comes)
                if seeded:
                    drew = drew or not torch.equal(before, self.generators[0].get_state())
                    for seat, client in zip(comes.seats.tolist(), work.clients[comes.clients.numpy()], strict=True):
                        self.generators[seat].manual_seed(drawn(self.seed, int(client), turn, work.part))
                    before = self.generators[0].get_state()
            found, gradients = self.stack.gradients(loss, batch)
            pulled.before()
            self.crowd.step(pulled.gradients(gradients), found)
            pulled.after()
            told[now] = found
            if goes is not None:
                self._leave(goes, out)
        self._draws = drew or not torch.equal(before, self.generators[0].get_state())
        if self._draws and not seeded:  # it was thought to draw nothing, and it did
            return self.train(work, turn, start, buffers, pull)
        total = torch.where(plan.live, told, 0.0).flatten()
        out.losses.index_add_(0, plan.who.flatten(), total).div_(work.steps)
        return out

    def _memory(self, many: int) -> Tensor:
        """Rows for what clients come to; the memory is taken once, as fresh pages cost more than the numbers."""
        if len(self._ends) < many:
            self._ends = torch.empty(many, self.vectors.size, dtype=self.vectors.dtype)
        return self._ends[:many]

    def _planned(self, lengths: list[int]) -> Seating:
        """Who sits where; where all take part in every round it is the same plan."""
        if self._seating is None or self._seating[0] != lengths:
            self._seating = lengths, seated(lengths, self.size)
        return self._seating[1]

    def _leave(self, change: Change, out: Found) -> None:
        """Take what clients that are done have come to."""
        seats, clients = change
        rows, places = seats.numpy(), clients.numpy()
        for name, part in self.vectors.views(out.weights).items():
            plain(part)[places] = self._held[name][rows]
        for name, end in out.buffers.items():
            end[clients] = self.stack.buffers[name][seats]
        out.steps[clients] = torch.from_numpy(self.crowd.taken[rows])
        if out.moments is not None:
            out.moments[clients] = self.crowd.moments(seats)

    def _batches(
        self, work: Work, who: Tensor, step: Tensor, lesson: Lesson | None, ragged: bool
    ) -> Iterator[tuple[Any, tuple[Tensor, ...]]]:
        """The loss and the batch of each pass, which ends with how many rows are a client's own where that is asked."""
        blank = ragged and self.blanks and lesson is None
        loss = self._filled if ragged and not blank else self._plain
        tables: tuple[Tensor, ...] = ()
        if lesson is not None:
            loss, tables = self._taught(lesson, ragged), lesson.tables
        every = (*self.clients.tensors, *tables)
        width = work.rows.shape[2]
        row = self.size * width * sum(t[0].numel() * t.element_size() for t in every)
        for some in torch.split(torch.arange(len(who)), max(1, BYTES // max(1, row))):
            rows = work.rows[who[some], step[some]]
            shape = rows.shape
            parts = tuple(t.index_select(0, rows.view(-1)).view(*shape, *t.shape[1:]) for t in every)
            if ragged:
                counts = work.counts[who[some], step[some]]
                if blank:
                    parts = blanked(parts, torch.arange(width) >= counts[..., None])
                else:
                    parts = (*parts, counts.to(self.vectors.dtype))
            yield from ((loss, batch) for batch in zip(*parts, strict=True))


def plain(x: Tensor) -> Any:
    """A tensor's memory for numpy, which moves some rows several times faster."""
    x = x.detach()
    return x.view(torch.int16).numpy() if x.dtype == torch.bfloat16 else x.numpy()


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise Unstackable(reason.removeprefix("member 0: "))
