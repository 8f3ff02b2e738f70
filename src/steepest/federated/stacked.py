r"""What clients compute in a round, all at once: a stack of models, each on its own rows, for its own number of steps.

A client that has taken all its steps stays in the stack, and what it computes from then on is thrown away: its weights
are taken when its last step is done. Clients are sorted by their number of steps and stacked in blocks, so little is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from steepest.federated.clients import Clients, Work
from steepest.federated.crowd import Crowd, Seat
from steepest.federated.errors import FederationError
from steepest.federated.features import Lesson
from steepest.federated.filling import filled, linear_in_rows, taught
from steepest.federated.local import Found, Pull, drawn
from steepest.federated.vectors import Vectors
from steepest.fleet.forming import kind_of
from steepest.fleet.numbers import NotAlike
from steepest.fleet.obstacle import obstacle, unfed
from steepest.fleet.stack import Stack
from steepest.strategy.value import Strategy
from steepest.tasks.randomness import mix
from steepest.tasks.task import Task

NUMBERS = 500_000
"""About how many parameters one stack holds: what stays in a processor's cache from step to step."""
OVERHEAD = 3_000_000
"""What a step of any stack costs beside its arithmetic, in parameters times rows: measured on one core."""


class Unstackable(FederationError):
    """Clients that cannot be trained in a stack; the message says why."""


class Stacked:
    """Clients side by side in one stack.

    Args:
        task, clients, strategy, rounds, seed: As for :class:`~steepest.federated.local.Loop`.
        seats: Clients that are trained in a round at most.
        batch: Rows in a batch.
        lengths: How many steps each client takes, where it is known: then it is reckoned how many stand in a stack.
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
        lengths: Sequence[int] = (),
        block: int | None = None,
    ) -> None:
        self.task, self.clients, self.seed = task, clients, seed
        plan: Any = SimpleNamespace(strategy=strategy)
        _refuse(obstacle([plan]))
        model = task.build(seed)
        self.vectors = Vectors(model)
        size = block or max(8, min(128, NUMBERS // self.vectors.size))
        blocks = max(1, -(-seats // size))
        if block is None:
            blocks = best_blocks(lengths, seats, blocks, self.vectors.size * batch)
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
            self._seat(seated, at.to(self.vectors.dtype), buffers)
            for generator, client in zip(self.generators, work.clients[seated.numpy()], strict=True):
                generator.manual_seed(mix(self.seed, "client", int(client), turn, step))
            here = slice(step, step + 1)
            one = Work(work.clients[seated.numpy()], work.rows[seated, here], work.counts[seated, here])
            batches, counts = self._batches(one, ())
            batch, loss = tuple(t[0] for t in batches), self._plain
            if counts is not None:
                batch, loss = (*batch, counts[0]), self._filled
            value, gradients = self.stack.gradients(loss, batch)
            for name, place in self.vectors.places.items():
                g = gradients[name]
                if g is not None:
                    found[block, place] = g[: len(block)].reshape(len(block), -1).double()
            losses[block] = value[: len(block)].double()
        return losses, found

    @torch.no_grad()
    def _seat(self, seated: Tensor, start: Tensor, buffers: Mapping[str, Tensor]) -> None:
        """Put clients' weights and buffers into the stack."""
        for name, part in self.vectors.views(start if start.ndim == 1 else start[seated]).items():
            self.stack.params[name].copy_(part)
        for name, b in buffers.items():
            whole = self.stack.buffers[name]
            whole.copy_(b if b.ndim < whole.ndim else b[seated])

    def train(self, work: Work, turn: int, start: Tensor, buffers: Mapping[str, Tensor], pull: Pull) -> Found:
        many = len(work.clients)
        weights = torch.empty(many, self.vectors.size, dtype=self.vectors.dtype)
        ends = {name: torch.empty(many, *b.shape[1:], dtype=b.dtype) for name, b in self.stack.buffers.items()}
        steps, losses = torch.zeros(many, dtype=torch.long), torch.zeros(many, dtype=torch.float64)
        order = torch.argsort(work.steps, descending=True, stable=True)
        moments = None
        if pull.moments is not None:
            moments = torch.zeros(many, self.crowd.length, dtype=torch.float64)
        for block in torch.split(order, self.size):
            self._block(work, turn, start, buffers, pull, block, (weights, ends, steps, losses, moments))
        return Found(weights, ends, steps, losses, moments)

    @torch.no_grad()
    def _block(
        self,
        work: Work,
        turn: int,
        start: Tensor,
        buffers: Mapping[str, Tensor],
        pull: Pull,
        block: Tensor,
        out: tuple[Tensor, dict[str, Tensor], Tensor, Tensor, Tensor | None],
    ) -> None:
        weights, ends, steps, losses, moments = out
        seated = torch.cat([block, block[-1:].expand(self.size - len(block))])  # empty seats double the last
        own = work.of(seated)
        lengths = own.steps
        self._seat(seated, start, buffers)
        if self._draws:
            for generator, client in zip(self.generators, own.clients, strict=True):
                generator.manual_seed(drawn(self.seed, int(client), turn, work.part))
        before = self.generators[0].get_state()
        self.crowd.begin(turn, start.ndim == 1)
        if pull.moments is not None:
            self.crowd.give(pull.moments)
        extra = self._extra(pull, start, seated)
        along = None if pull.along is None else self.vectors.views(pull.along.to(self.vectors.dtype))
        lesson = pull.lesson
        batches, counts = self._batches(own, () if lesson is None else lesson.tables)
        total = torch.zeros(self.size, dtype=torch.float64)
        done, ends_at = 0, lengths[: len(block)].tolist()
        for step in range(own.rows.shape[1]):
            batch = tuple(t[step] for t in batches)
            loss = self._plain
            if counts is not None:
                batch, loss = (*batch, counts[step]), self._filled
            if lesson is not None:
                loss = self._taught(lesson, counts is not None)
            found, gradients = self.stack.gradients(loss, batch)
            if extra is not None:
                gradients = self._moved(gradients, extra, pull.mu)
            if pull.frozen:
                gradients = {name: None if name in pull.frozen else g for name, g in gradients.items()}
            past = None if along is None else {n: p.detach().clone() for n, p in self.stack.params.items()}
            self.crowd.step(gradients, found)
            if past is not None and along is not None:
                for name, d in along.items():
                    p = self.stack.params[name]
                    p.sub_(past[name]).mul_(1 - pull.share).add_(past[name]).add_(d)
            total += torch.where(lengths > step, found.double(), 0.0)
            many = ends_at.count(step + 1)
            if many:  # sorted: they stand side by side
                rows = slice(len(block) - done - many, len(block) - done)
                for name, part in self._parts.items():
                    part[rows] = self.stack.params[name][rows]
                for name, end in ends.items():
                    end[block[rows]] = self.stack.buffers[name][rows]
                steps[block[rows]] = torch.from_numpy(self.crowd.taken[rows].copy())
                losses[block[rows]] = total[rows] / (step + 1)
                if moments is not None:
                    moments[block[rows]] = self.crowd.taken_moments(rows)
                done += many
        assert done == len(block)
        seeded, self._draws = self._draws, not torch.equal(before, self.generators[0].get_state())
        if self._draws and not seeded:  # it was thought to draw nothing, and it did
            self._block(work, turn, start, buffers, pull, block, out)
            return
        weights.index_copy_(0, block, self._last[: len(block)])

    def _batches(self, own: Work, tables: tuple[Tensor, ...]) -> tuple[list[Tensor], Tensor | None]:
        """All batches of the block, steps in front; and how many rows of each are a client's own, where it matters."""
        steps = own.rows.shape[1]
        every = own.rows.permute(1, 0, 2).reshape(-1)
        shape = (steps, self.size, own.rows.shape[2])
        every_tensor = (*self.clients.tensors, *tables)
        batches = [t.index_select(0, every).view(*shape, *t.shape[1:]) for t in every_tensor]
        if not own.ragged:
            return batches, None
        counts = own.counts.T.contiguous()
        full = torch.full_like(counts, own.rows.shape[2])
        return batches, torch.where(counts > 0, counts, full).to(self.vectors.dtype)

    def _extra(self, pull: Pull, start: Tensor, seated: Tensor) -> Any:
        """What is added to gradients, in the parameters' shapes; None where nothing is."""
        if pull.constant is None and not pull.mu:
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


def best_blocks(lengths: Sequence[int], seats: int, fewest: int, work: int) -> int:
    """Into how many stacks clients are best put, sorted by their steps: few stacks, or few idle seats.

    Args:
        lengths: Steps of each client; of those that are sampled about the same shares.
        seats: How many are trained in a round.
        fewest: How many stacks there are at least.
        work: Parameters times rows of one client's step.

    >>> best_blocks([9] * 10 + [1] * 90, 100, 1, 40_000), best_blocks([3] * 100, 100, 1, 40_000)
    (3, 1)
    """
    if not lengths:
        return fewest
    every = sorted(lengths, reverse=True)
    own = [every[i * len(every) // seats] for i in range(seats)]

    def cost(blocks: int) -> float:
        size = -(-seats // blocks)
        return sum(own[at] * (OVERHEAD + size * work) for at in range(0, seats, size))

    return min(range(fewest, max(fewest, min(16, seats // 4)) + 1), key=cost)


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise Unstackable(reason.removeprefix("member 0: "))
