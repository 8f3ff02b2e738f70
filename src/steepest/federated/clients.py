"""The clients of a federation: whose rows are whose, and the batches of a round, the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset, default_collate

from steepest.federated.errors import FederationError
from steepest.federated.partition import Partition, Rows
from steepest.federated.partitioners import Dealer
from steepest.tasks.randomness import generator, mix
from steepest.tasks.task import Task


def tensors_of(task: Task) -> tuple[Tensor, ...]:
    """The training rows of a task as tensors; an error where it is a stream."""
    data: Any = task.train
    if isinstance(data, tuple):
        return data
    if isinstance(data, TensorDataset):
        return data.tensors
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        rows = default_collate([data[i] for i in range(len(data))])  # type: ignore[arg-type]
        if isinstance(rows, (tuple, list)) and all(isinstance(t, Tensor) for t in rows):
            return tuple(rows)
    raise FederationError(
        f"task {task.name!r} trains on {type(data).__name__}, and a federation deals rows: it needs a tuple of tensors "
        "or a map-style dataset of them."
    )


def labels_of(tensors: Sequence[Tensor]) -> Rows | None:
    """The class of each row, where the second tensor holds whole numbers, one a row."""
    if len(tensors) < 2 or tensors[1].ndim != 1 or tensors[1].is_floating_point():
        return None
    found: Rows = tensors[1].cpu().numpy().astype(np.int64)
    return found


@dataclass(frozen=True)
class Work:
    """The batches of some clients in one round.

    Args:
        clients: Who, by number.
        rows: ``(clients, steps, batch)``: row numbers; what a client lacks is filled up with rows of its own.
        counts: ``(clients, steps)``: how many of a batch are its own; 0 after a client's last step.
    """

    clients: Rows
    rows: Tensor
    counts: Tensor
    part: int = 0
    """Which part of a round's work it is, where a method takes it in parts: what is drawn while training differs."""

    @property
    def steps(self) -> Tensor:
        """Steps of each client."""
        return (self.counts > 0).sum(1)

    @property
    def ragged(self) -> bool:
        """Whether a batch that is trained on is not full."""
        return bool(((self.counts > 0) & (self.counts < self.rows.shape[2])).any())

    def of(self, places: Sequence[int] | Tensor) -> Work:
        """Some of the clients, with as many steps as the longest of them takes."""
        where = torch.as_tensor(places, dtype=torch.long)
        counts = self.counts[where]
        most = max(1, int((counts > 0).sum(1).max()))
        return Work(self.clients[where.numpy()], self.rows[where, :most], counts[:, :most], self.part)

    def most(self, steps: Tensor) -> Work:
        """No more than so many steps of each client."""
        counts = torch.where(torch.arange(self.counts.shape[1]) < steps[:, None], self.counts, 0)
        longest = max(1, int((counts > 0).sum(1).max()))
        return Work(self.clients, self.rows[:, :longest], counts[:, :longest], self.part)


class Clients:
    """Whose rows are whose.

    Args:
        task: What is learnt; its training rows are dealt.
        partition: Who has what, or a way to deal.
        seed: Fixes the deal, who holds out which rows, and the order of batches.
        holdout: Share of each client's rows that it keeps for measuring; none of them is trained on.
        least: The fewest rows of a batch; a last batch with fewer is left out, and so is a client that has no more.
    """

    def __init__(
        self, task: Task, partition: Partition | Dealer, seed: int = 0, holdout: float = 0.0, least: int = 1
    ) -> None:
        if not 0 <= holdout < 1:
            raise FederationError(f"holdout is a share in [0, 1); given {holdout!r}.")
        self.task, self.seed, self.holdout, self.least = task, seed, holdout, least
        self.tensors = tensors_of(task)
        self.labels = labels_of(self.tensors)
        n = len(self.tensors[0])
        self.partition = partition if isinstance(partition, Partition) else partition(n, self.labels, seed)
        if self.partition.of != n:
            raise FederationError(f"the partition is of {self.partition.of} rows; task {task.name!r} trains on {n}.")
        self.train: list[Tensor] = []
        self.own: list[Tensor] = []
        """The rows on which each client is measured: those held out, else those it trains on."""
        for client, rows in enumerate(self.partition.rows):
            order = torch.from_numpy(np.random.default_rng(mix(seed, "holdout", client)).permutation(rows))
            kept = round(holdout * len(rows))
            self.train.append(order[kept:].sort()[0])
            self.own.append(order[:kept].sort()[0] if kept else self.train[-1])
        self.sizes = np.array([len(own) for own in self.train], dtype=np.int64)
        self._shift()

    def __len__(self) -> int:
        return len(self.partition)

    def _shift(self) -> None:
        """Features that differ between clients: noise of each client's own strength, drawn once."""
        noise = self.partition.facts.get("noise")
        if noise is None:
            return
        x = self.tensors[0].clone()
        scale = float(x.double().std())
        for client, strength in enumerate(noise):
            rows = torch.from_numpy(self.partition.rows[client])
            drawn = torch.randn((len(rows), *x.shape[1:]), generator=generator(self.seed, "features", client))
            x[rows] += (strength * scale * drawn).to(x.dtype)
        self.tensors = (x, *self.tensors[1:])

    @property
    def able(self) -> list[int]:
        """The clients that have rows to train on."""
        found: list[int] = np.flatnonzero(self.sizes >= self.least).tolist()
        return found

    def used(self, client: int, batch: int) -> int:
        """How many of its rows a client takes in an epoch: all, but for a last batch that is too small."""
        n = int(self.sizes[client])
        rest = n % batch
        return n - rest if 0 < rest < self.least else n

    def steps(self, client: int, batch: int, epochs: int, steps: int | None = None) -> int:
        """How many steps a client takes in a round."""
        if steps is not None:
            return steps
        batch = min(batch, int(self.sizes.max()))
        return -(-self.used(client, batch) // batch) * epochs

    def work(self, clients: Sequence[int], turn: int, batch: int, epochs: int, steps: int | None = None) -> Work:
        """The batches of some clients in round ``turn``: every epoch in an order of its own, nothing left out.

        Args:
            clients: Who; each has rows.
            turn: The round, from 0.
            batch: Rows in a batch; the last of an epoch may have fewer.
            epochs: Passes over a client's rows.
            steps: So many steps instead, over as many passes as they take.
        """
        batch = min(batch, int(self.sizes.max()))
        used = np.array([self.used(c, batch) for c in clients])
        per = -(-used // batch)
        lengths = per * epochs if steps is None else np.full(len(per), steps)
        rows = np.full((len(clients), int(lengths.max()), batch), -1, dtype=np.int64)
        counts = np.zeros(rows.shape[:2], dtype=np.int64)
        own = torch.cat([self.train[c] for c in clients]).numpy()
        sizes = self.sizes[list(clients)]
        who = np.repeat(np.arange(len(clients)), sizes)
        place = np.arange(len(own)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        for epoch in range(int((-(-lengths // per)).max())):
            drawn = torch.rand(
                self.partition.of, generator=generator(self.seed, "order", turn, epoch), dtype=torch.float64
            )
            shuffled = own[np.lexsort((drawn.numpy()[own], who))]  # each client's rows by their numbers
            step = epoch * per[who] + place // batch
            taken = (place < used[who]) & (step < lengths[who])
            where = who[taken], step[taken]
            rows[(*where, place[taken] % batch)] = shuffled[taken]
            np.add.at(counts, where, 1)
        rows = np.where(rows < 0, rows[:, :, :1], rows)  # filled up with the first row of a batch
        rows = np.where(rows < 0, rows[:, :1], rows)  # what a client computes after its last step is thrown away
        return Work(np.asarray(clients, dtype=np.int64), torch.from_numpy(rows), torch.from_numpy(counts))

    def batch(self, work: Work, place: int, step: int) -> tuple[Tensor, ...]:
        """The batch of one client at one step, as it is: not filled up."""
        own = work.rows[place, step, : int(work.counts[place, step])]
        return tuple(t.index_select(0, own) for t in self.tensors)

    def everything(self, client: int, *, own: bool = False) -> tuple[Tensor, ...]:
        """All rows of a client, as one batch; ``own``: those it is measured on."""
        rows = self.own[client] if own else self.train[client]
        return tuple(t.index_select(0, rows) for t in self.tensors)
