"""The rounds of a federation, from its last checkpoint or from the start, to the end."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.records import Metrics, lock
from steepest.federated import closed, ending, saving
from steepest.federated.course import Apart, Course, Team, Together
from steepest.federated.inbox import Rejected
from steepest.federated.journal import Federated, Journal, record
from steepest.federated.local import rate
from steepest.federated.measure import Measure
from steepest.federated.method import Round
from steepest.federated.receiving import accept, equip
from steepest.federated.robust import Memory
from steepest.federated.sending import Downlink, Sent, Traffic, Uplink
from steepest.federated.server import Server
from steepest.federated.store import Store
from steepest.fit.interrupt import Stop
from steepest.fit.progress import Bar
from steepest.fit.state import own_random_states
from steepest.fit.threads import threads, wanted


class Rounds:
    """One run of a federation."""

    def __init__(self, federation: Any, rounds: int, eval_every: int, folder: Path | None, label: str) -> None:
        self.fed, self.rounds, self.every, self.folder = federation, rounds, eval_every, folder
        self.task, self.settings, self.clients = federation.task, federation.settings, federation.clients
        self.record = record(federation, rounds, eval_every, label)
        self.turn = 0
        self.seconds = self.cpu_seconds = 0.0
        self.evaluations = 0
        self.best: float | None = None
        self.reached: int | None = None
        self.validation: dict[str, float] = {}
        self.refused = 0
        self.traffic = Traffic()
        self.last = np.full(len(self.clients), -1, dtype=np.int64)
        self.lines: list[dict[str, Any]] | None = None
        self.file: Metrics | None = None
        self.rejected: list[Rejected] = []
        """Of the newest round."""
        self._changed = torch.empty(0, dtype=torch.float64)
        self.by_client: dict[str, list[float]] = {}
        self.own: dict[str, list[float]] = {}

    def run(self, resume: bool, progress: bool) -> Federated:
        with ExitStack() as stack:
            if self.folder is not None:
                stack.enter_context(lock(self.folder))
                past = Journal(self.folder, self.record, self.fed).begin(resume)
                if past is not None:
                    return ending.ended(self, past)
            stack.enter_context(own_random_states())
            self._prepare()
            stack.callback(getattr(self.engine, "close", lambda: None))
            stack.enter_context(threads(wanted(self.server.model, torch.device("cpu"))))
            if self.folder is not None:
                saving.begin(self, stack)
            else:
                self.lines = []
            stop = stack.enter_context(Stop())
            bar = stack.enter_context(Bar(progress, f"{self.task.name}, {self.record['label']}", self.rounds))
            problem = None
            if not self.validation:
                ending.evaluate(self)
                saving.checkpoint(self)
            while self.turn < self.rounds and not stop.asked and problem is None and not self.over:
                loss = self._timed()
                problem = self._problem()
                if problem is None and (self.turn % self.every == 0 or self.turn == self.rounds or self.over):
                    bar.evaluated(self.task.metric, ending.evaluate(self))
                saving.checkpoint(self)
                bar.step(self.turn, loss)
            return ending.finish(self, problem)

    def _prepare(self) -> None:
        fed, s = self.fed, self.settings
        model = fed.model()
        self.method = fed.method.ready(model)
        self.server = Server(model, self.method, self.rounds)
        self.vectors = self.server.vectors
        size = self.vectors.size
        self.liars = set() if s.attack is None else set(s.attack.liars(len(self.clients), s.seed))
        self.data = s.attack.poisoned(self.clients, self.liars) if s.attack is not None else self.clients
        self.engine = fed.trainer(self.rounds, self.data)
        self.rate = rate(self.method.client, fed.model(), self.rounds)
        place = self.folder
        lengths = self.method.lengths
        self.stores = {n: Store(len(self.clients), lengths.get(n, size), place, n) for n in self.method.rows}
        for name in self.method.starts_at_weights:
            self.stores[name].default = self.vectors.flat(model)
        rest, sent = None, Sent(self.vectors, self.method.at_home)
        if s.compress is not None and not s.compress.unbiased:
            rest = self.stores["rest"] = Store(len(self.clients), sent.size, place, "rest")
        self.up = Uplink(s.compress, sent, rest, s.fade, s.seed)
        self.down = Downlink(s.down, sent, s.seed)
        self.course = self._course()
        self.guard = closed.guard_of(self)
        self.sealed = closed.sealed_of(self)
        if self.guard is not None:
            self.course.draw = self.guard.sampled
            self.guard.meet(self)
        self.kept = {name: torch.zeros(lengths.get(name, size), dtype=torch.float64) for name in self.method.vectors}
        self.memory = Memory()
        honest = [c for c in self.clients.able if c not in self.liars]
        self.measure = Measure(self.task, self.clients, sorted(self.liars) if honest else ())

    def _course(self) -> Course:
        fed, own = self.fed, (self.settings, self.clients, self.fed.batch, self.fed.sampled, self.down)
        return Apart(*own, fed.method.buffer) if fed.method.buffer else Together(*own)

    @property
    def over(self) -> bool:
        """Whether a budget of privacy is spent."""
        return self.guard is not None and self.guard.ended

    # ---------------------------------------------------------------------------------------------------------- a round

    def sampled(self, turn: int) -> list[int]:
        """Who is asked in a round: a function of seed and round."""
        return self.course.sampled(turn)

    def _timed(self) -> float:
        wall, cpu = time.perf_counter(), time.process_time()
        loss = self.round()
        self.seconds += time.perf_counter() - wall
        self.cpu_seconds += time.process_time() - cpu
        return loss

    def round(self) -> float:
        """One round; the mean loss of its clients."""
        t, s = self.turn, self.settings
        w = self.server.weights()
        buffers = {name: b.detach().clone() for name, b in self.server.buffers.items()}
        team = self.course.gather(t, w, buffers, self.last)
        clients = list(team.clients)
        beside = _bytes(buffers)
        self.turn += 1
        self.traffic.down += team.sent + team.asked * (beside + self._extra(self.method.extra_down))
        if not clients:
            self._line_of(team, closed.nobody(self, t, w))
            return math.nan
        work = self.data.work(clients, t, self.fed.batch, s.epochs, s.steps)
        if team.most is not None:
            work = work.most(team.most)
        rows = self.method.rows
        seen = self.stores[rows[0]].seen(clients) if rows else torch.from_numpy(self.last[clients] >= 0)
        own = {name: self.stores[name].read(clients) for name in rows}
        lag = torch.zeros(len(clients), dtype=torch.long) if team.lag is None else team.lag
        known = team.start if team.start.ndim == 1 else w
        view = Round(
            turn=t, clients=clients, many=len(self.clients.able), w=known, lr=self.rate(t), rows=own,
            vectors=dict(self.kept), seen=seen, work=work, start=team.start, buffers=team.buffers, lag=lag,
        )  # fmt: skip
        equip(self, view)
        start, found = self.method.local(view)
        deltas = self._deltas(found.weights, start)
        away = (t - self.last[clients]).tolist()
        steps = found.steps
        if self.guard is not None or self.sealed is not None:
            self.traffic.up += closed.step(self, view, found, deltas, away)
        else:
            arrived, received = self.up.send(clients, deltas, t, away)
            self.traffic.up += received + len(clients) * (beside + self._extra(self.method.extra))
            accept(self, view, found, arrived)
        self.last[clients] = t
        sizes = torch.tensor(self.clients.sizes[clients], dtype=torch.float64)
        losses = found.losses
        fine = losses.isfinite() & torch.tensor([c not in self.liars for c in clients])
        loss = float((losses[fine] * sizes[fine]).sum() / sizes[fine].sum()) if bool(fine.any()) else math.nan
        self.line("train", loss=loss, lr=self.rate(t))
        self._line_of(team, {"local_steps": int(steps.sum()), **view.notes})
        return loss

    def _deltas(self, ends: Tensor, start: Tensor) -> Tensor:
        """What clients changed, in float64; the memory is taken once, as fresh pages cost more than the numbers."""
        if self._changed.shape != ends.shape:
            self._changed = torch.empty(ends.shape, dtype=torch.float64)
        self._changed.copy_(ends)
        return self._changed.sub_(start.to(self.vectors.dtype))

    def _extra(self, vectors: int) -> int:
        """Bytes of vectors that a method sends beside weights or an update."""
        lengths: int = vectors * self.vectors.size + self.method.numbers
        return lengths * self.vectors.dtype.itemsize

    def _line_of(self, team: Team, notes: dict[str, Any]) -> None:
        rejected = [{"client": r.client, "reason": r.reason} for r in self.rejected] if team.clients else None
        more = {} if rejected is None else {"rejected": rejected}
        self.line(
            "round", clients=len(team.clients), sampled=team.asked, **notes, **team.notes, **more,
            bytes_up=self.traffic.up, bytes_down=self.traffic.down,
        )  # fmt: skip

    def line(self, kind: str, **values: Any) -> None:
        """Write a line of the records."""
        line = {"kind": kind, "step": self.turn, **values}
        if self.file is not None:
            self.file.write(line)
        elif self.lines is not None:
            self.lines.append(line)

    def _problem(self) -> str | None:
        """Why the run cannot go on, if so."""
        if not bool(self.server.weights().isfinite().all()):
            return f"the global weights are not finite after round {self.turn}"
        return None


def _bytes(buffers: dict[str, Tensor]) -> int:
    return sum(b.numel() * b.element_size() for b in buffers.values())
