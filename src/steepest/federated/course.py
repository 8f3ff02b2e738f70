"""Who is asked, who comes back with what, and how long it takes: rounds that wait, and a server that does not.

Everything here is a function of the federation's seed, the round and the jobs so far; nothing looks at a real clock.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.federated.clients import Clients
from steepest.federated.errors import FederationError
from steepest.federated.sending import Downlink
from steepest.federated.settings import Settings
from steepest.tasks.randomness import generator

Buffers = dict[str, Tensor]


@dataclass
class Team:
    """Whose updates one step of the server is made of.

    Args:
        asked: How many clients were sent weights for it.
        clients: Who comes back, by number.
        start: The weights that they start from: a vector, or a row each.
        buffers: Likewise.
        sent: Bytes that the server sent.
        most: Steps that each has time for; None: all that it has.
        lag: How many steps the server has taken since each was sent its weights; None: none.
        notes: What the records say of it.
    """

    asked: int
    clients: list[int]
    start: Tensor
    buffers: Buffers
    sent: int
    most: Tensor | None = None
    lag: Tensor | None = None
    notes: dict[str, float] = field(default_factory=dict)


class Course:
    """What both ways have in common: who is there, and how fast.

    Args:
        settings: Of the federation.
        clients: Whose rows are whose.
        batch: Rows in a batch.
        sampled: Clients of a round, or clients that train at any time.
        down: How weights are sent.
    """

    def __init__(self, settings: Settings, clients: Clients, batch: int, sampled: int, down: Downlink) -> None:
        self.settings, self.clients, self.batch, self.many, self.down = settings, clients, batch, sampled, down
        self.time = 0.0
        self.draw: Callable[[int], list[int]] | None = None
        """What draws the sample in its place, where it must be a secret."""
        self.paces = None if settings.clock is None else settings.clock.paces(len(clients), settings.seed)

    def there(self, turn: int) -> list[int]:
        """Who can be asked in a round."""
        able, pattern = self.clients.able, self.settings.available
        if pattern is None:
            return able
        drawn = pattern.there(turn, len(self.clients), self.settings.seed).tolist()
        return [c for c in able if drawn[c]]

    def sampled(self, turn: int) -> list[int]:
        """Who is asked in a round: a function of seed and round."""
        if self.draw is not None:
            here = set(self.there(turn))
            return [c for c in self.draw(turn) if c in here]
        able = self.clients.able
        order = torch.randperm(len(able), generator=generator(self.settings.seed, "clients", turn))
        there = set(self.there(turn))
        return sorted([able[i] for i in order.tolist() if able[i] in there][: self.many])

    def steps(self, client: int) -> int:
        """How many steps a client takes where nothing stops it."""
        return self.clients.steps(client, self.batch, self.settings.epochs, self.settings.steps)

    def takes(self, client: int, job: int) -> float:
        """How long a step of a client takes in a job."""
        clock = self.settings.clock
        if clock is None or self.paces is None:
            return 1.0
        return float(self.paces[client]) * clock.luck(job, client, self.settings.seed)

    def gather(self, turn: int, w: Tensor, buffers: Buffers, last: Any) -> Team:
        """The next team; ``last``: the round in which each client was last there, or -1."""
        raise NotImplementedError(f"{type(self).__name__} does not say who comes next")

    def keep(self) -> Any:
        """What a checkpoint holds of it."""
        return {"time": self.time}

    def restore(self, saved: Any) -> None:
        """Go back to a checkpoint."""
        self.time = saved["time"]


class Together(Course):
    """Rounds: all that were asked start from the same weights, and the server waits for them, or until a deadline."""

    def gather(self, turn: int, w: Tensor, buffers: Buffers, last: Any) -> Team:
        s = self.settings
        asked = self.sampled(turn)
        start, sent = self.down.send(w, turn, last[asked].tolist())
        came, most, notes = self._there(asked, turn), None, {}
        if s.available is not None:
            notes["available"] = float(len(self.there(turn)))
        if s.clock is not None:
            came, most, late = self._timed(came, turn, len(came) < len(asked))
            notes |= {"time": self.time, "late": float(late)}
        return Team(len(asked), came, start, buffers, sent, most, None, notes)

    def _there(self, asked: list[int], turn: int) -> list[int]:
        """Who of those who were asked comes back."""
        if not self.settings.absent:
            return asked
        drawn = torch.rand(len(asked), generator=generator(self.settings.seed, "absent", turn)).tolist()
        return [c for c, u in zip(asked, drawn, strict=True) if u >= self.settings.absent]

    def _timed(self, came: list[int], turn: int, missing: bool) -> tuple[list[int], Tensor | None, int]:
        """Who is back before the deadline, how many steps each had time for, and how many were late."""
        s = self.settings
        pace = np.array([self.takes(c, turn) for c in came])
        steps = np.array([self.steps(c) for c in came])
        whole = pace * steps
        if s.deadline is None:
            self.time += float(whole.max(initial=0.0))
            return came, None, 0
        late = whole > s.deadline
        self.time += s.deadline if missing or bool(late.any()) else float(whole.max(initial=0.0))
        most = np.minimum(steps, np.floor(s.deadline / pace + 1e-9).astype(np.int64))
        stays = (most > 0) if s.late == "fewer" else ~late
        rest = torch.from_numpy(most[stays]) if s.late == "fewer" and bool(late.any()) else None
        return [c for c, ok in zip(came, stays.tolist(), strict=True) if ok], rest, int(late.sum())


@dataclass(order=True)
class Job:
    """One client's training, under way."""

    end: float
    number: int
    client: int
    turn: int


class Apart(Course):
    """No rounds: so many clients train at any time, and the server steps whenever so many updates have come.

    A client that has come back is not asked again before the server has stepped. Weights of older steps are kept while
    somebody trains from them.
    """

    def __init__(
        self, settings: Settings, clients: Clients, batch: int, sampled: int, down: Downlink, buffer: int
    ) -> None:
        super().__init__(settings, clients, batch, sampled, down)
        if buffer > len(clients.able):
            raise FederationError(
                f"the server waits for {buffer} updates, and {len(clients.able)} clients have rows. "
                "Make buffer smaller."
            )
        for name in ("down", "deadline"):
            if getattr(settings, name) is not None:
                raise FederationError(f"{name} is about rounds, and this method has none: leave {name} away.")
        self.buffer = buffer
        self.jobs: list[Job] = []
        self.count = 0
        self.past: dict[int, tuple[Tensor, Buffers]] = {}

    def gather(self, turn: int, w: Tensor, buffers: Buffers, last: Any) -> Team:
        began = self.count
        self.past[turn] = (w, buffers)
        done: list[Job] = []
        self._start(turn, done)
        while len(done) < self.buffer and self.jobs:
            job = heapq.heappop(self.jobs)
            self.time = max(self.time, job.end)
            if not self._lost(job):
                done.append(job)
            self._start(turn, done)
        done.sort(key=lambda job: job.client)
        notes = {"time": self.time}
        if self.settings.available is not None:
            notes["available"] = float(len(self.there(turn)))
        asked = self.count - began
        sent = asked * self.down.sent.bytes
        if not done:
            return Team(asked, [], w, buffers, sent, notes=notes)
        lag = torch.tensor([turn - job.turn for job in done])
        notes |= {"lag": float(lag.double().mean()), "lag_max": float(lag.max())}
        start = torch.stack([self.past[job.turn][0] for job in done])
        own = {name: torch.stack([self.past[job.turn][1][name] for job in done]) for name in buffers}
        needed = {job.turn for job in self.jobs} | {turn}
        self.past = {t: held for t, held in self.past.items() if t in needed}
        return Team(asked, [job.client for job in done], start, own, sent, None, lag, notes)

    def _start(self, turn: int, done: Sequence[Job]) -> None:
        """Send weights to clients until enough of them train."""
        busy = {job.client for job in (*self.jobs, *done)}
        idle = [c for c in self.there(turn) if c not in busy]
        while len(self.jobs) < self.many and idle:
            drawn = torch.rand((), generator=generator(self.settings.seed, "job", self.count), dtype=torch.float64)
            client = idle.pop(math.floor(float(drawn) * len(idle)))
            end = self.time + self.takes(client, self.count) * self.steps(client)
            heapq.heappush(self.jobs, Job(end, self.count, client, turn))
            self.count += 1

    def _lost(self, job: Job) -> bool:
        """Whether a job's client never comes back."""
        if not self.settings.absent:
            return False
        return float(torch.rand((), generator=generator(self.settings.seed, "absent", job.number))) < (
            self.settings.absent
        )

    def keep(self) -> Any:
        jobs = [[job.end, job.number, job.client, job.turn] for job in sorted(self.jobs)]
        past = {str(t): {"w": w, "buffers": own} for t, (w, own) in self.past.items()}
        return {**super().keep(), "jobs": jobs, "count": self.count, "past": past}

    def restore(self, saved: Any) -> None:
        super().restore(saved)
        self.count = saved["count"]
        self.jobs = [Job(*job) for job in saved["jobs"]]  # in order, which is a heap
        self.past = {int(t): (held["w"], held["buffers"]) for t, held in saved["past"].items()}
