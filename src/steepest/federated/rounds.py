"""The rounds of a federation, from its last checkpoint or from the start, to the end."""

from __future__ import annotations

import copy
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.errors import CheckpointError
from steepest.core.records import METRICS, RESULT, SCHEMA, Metrics, load_checkpoint, lock, save_checkpoint, write_json
from steepest.federated.inbox import Rejected, sort
from steepest.federated.journal import Federated, Journal, record, validations
from steepest.federated.local import Found, Pull, rate
from steepest.federated.measure import Measure, spread
from steepest.federated.method import Round, mean
from steepest.federated.robust import Memory
from steepest.federated.sending import Downlink, Traffic, Uplink
from steepest.federated.server import Server
from steepest.federated.store import Store
from steepest.federated.vectors import averaged
from steepest.fit.interrupt import Stop
from steepest.fit.progress import Bar
from steepest.fit.state import own_random_states
from steepest.fit.threads import threads, wanted
from steepest.tasks.randomness import generator


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
        self.by_client: dict[str, list[float]] = {}
        self.own: dict[str, list[float]] = {}

    # ------------------------------------------------------------------------------------------------- before and after

    def run(self, resume: bool, progress: bool) -> Federated:
        with ExitStack() as stack:
            if self.folder is not None:
                stack.enter_context(lock(self.folder))
                ended = Journal(self.folder, self.record, self.fed).begin(resume)
                if ended is not None:
                    return self._ended(ended)
            stack.enter_context(own_random_states())
            self._prepare()
            stack.enter_context(threads(wanted(self.server.model, torch.device("cpu"))))
            if self.folder is not None:
                self._open(stack)
            else:
                self.lines = []
            stop = stack.enter_context(Stop())
            bar = stack.enter_context(Bar(progress, f"{self.task.name}, {self.record['label']}", self.rounds))
            problem = None
            if not self.validation:
                self._evaluate()
                self._checkpoint()
            while self.turn < self.rounds and not stop.asked and problem is None:
                loss = self._timed()
                problem = self._problem()
                if problem is None and (self.turn % self.every == 0 or self.turn == self.rounds):
                    bar.evaluated(self.task.metric, self._evaluate())
                self._checkpoint()
                bar.step(self.turn, loss)
            return self._finish(problem)

    def _prepare(self) -> None:
        fed, seed = self.fed, self.settings.seed
        model = fed.model()
        self.method = fed.method.ready(model)
        self.server = Server(model, self.method, self.rounds)
        self.vectors = self.server.vectors
        size = self.vectors.size
        attack = self.settings.attack
        self.liars = set() if attack is None else set(attack.liars(len(self.clients), seed))
        self.data = self._poisoned() if self.liars else self.clients
        self.engine = fed.trainer(self.rounds, self.data)
        self.rate = rate(self.method.client, fed.model(), self.rounds)
        place = self.folder
        self.stores = {name: Store(len(self.clients), size, place, name) for name in self.method.rows}
        for name in self.method.starts_at_weights:
            self.stores[name].default = self.vectors.flat(model)
        codec = self.settings.compress
        rest = None
        if codec is not None and not codec.unbiased:
            rest = self.stores["rest"] = Store(len(self.clients), size, place, "rest")
        self.up = Uplink(codec, self.vectors, rest, self.settings.fade, seed)
        self.down = Downlink(self.settings.down, self.vectors, seed)
        self.kept = {name: torch.zeros(size, dtype=torch.float64) for name in self.method.vectors}
        self.memory = Memory()
        honest = [c for c in self.clients.able if c not in self.liars]
        self.measure = Measure(self.task, self.clients, sorted(self.liars) if honest else ())

    def _poisoned(self) -> Any:
        """The clients, with what liars make of their labels."""
        labels = self.clients.labels
        if labels is None:
            return self.clients
        y = self.clients.tensors[1].clone()
        classes = int(labels.max()) + 1
        for client in self.liars:
            own = torch.from_numpy(self.clients.partition.rows[client])
            y[own] = self.settings.attack.labels(y[own], classes)
        made = copy.copy(self.clients)
        made.tensors = (self.clients.tensors[0], y, *self.clients.tensors[2:])
        return made

    def _open(self, stack: ExitStack) -> None:
        """Go on from the checkpoint, if there is one."""
        assert self.folder is not None
        saved, note = load_checkpoint(self.folder)
        if note and any(store.filed for store in self.stores.values()):
            raise CheckpointError(
                f"{note} What is kept for each client fits only the newest one: begin in a new folder."
            )
        path = self.folder / METRICS
        if saved is None:
            path.unlink(missing_ok=True)
        else:
            self._unpack(saved)
        (self.folder / RESULT).unlink(missing_ok=True)
        self.file = stack.enter_context(Metrics(path, keep_until=self.turn if saved is not None else None))
        if saved is not None:
            self.validation = validations(self.folder)

    def _checkpoint(self) -> None:
        if self.folder is None or self.file is None:
            return
        self.file.flush(sync=True)
        save_checkpoint(
            self.folder,
            {
                "schema": SCHEMA,
                "step": self.turn,
                "seconds": self.seconds,
                "cpu_seconds": self.cpu_seconds,
                "gradient_evaluations": self.evaluations,
                "best": self.best,
                "reached": self.reached,
                "refused": self.refused,
                "model": self.server.model.state_dict(),
                "optimizer": self.server.optimizer.state_dict(),
                "vectors": self.kept,
                "stores": {name: store.keep() for name, store in self.stores.items()},
                "last": torch.from_numpy(self.last.copy()),
                "center": self.memory.center,
                "known": self.down.known,
                "sizes": list(self.down.sizes),
                "traffic": [self.traffic.up, self.traffic.down],
            },
        )
        for store in self.stores.values():
            store.kept()

    def _unpack(self, saved: dict[str, Any]) -> None:
        self.turn = saved["step"]
        self.seconds, self.cpu_seconds = saved["seconds"], saved["cpu_seconds"]
        self.evaluations, self.best, self.reached = saved["gradient_evaluations"], saved["best"], saved["reached"]
        self.refused = saved["refused"]
        self.server.model.load_state_dict(saved["model"])
        if self.turn:
            self.server.optimizer.load_state_dict(saved["optimizer"])
        self.kept = dict(saved["vectors"])
        for name, store in self.stores.items():
            store.restore(saved["stores"][name])
        self.last = saved["last"].numpy().copy()
        self.memory.center, self.down.known, self.down.sizes = saved["center"], saved["known"], list(saved["sizes"])
        self.traffic = Traffic(*saved["traffic"])

    # ---------------------------------------------------------------------------------------------------------- a round

    def sampled(self, turn: int) -> list[int]:
        """Who is asked in a round: a function of seed and round."""
        able = self.clients.able
        order = torch.randperm(len(able), generator=generator(self.settings.seed, "clients", turn))
        return sorted(able[i] for i in order[: self.fed.sampled].tolist())

    def there(self, sampled: list[int], turn: int) -> list[int]:
        """Who of them comes back."""
        if not self.settings.absent:
            return sampled
        drawn = torch.rand(len(sampled), generator=generator(self.settings.seed, "absent", turn)).tolist()
        return [c for c, u in zip(sampled, drawn, strict=True) if u >= self.settings.absent]

    def _timed(self) -> float:
        wall, cpu = time.perf_counter(), time.process_time()
        loss = self.round()
        self.seconds += time.perf_counter() - wall
        self.cpu_seconds += time.process_time() - cpu
        return loss

    def round(self) -> float:
        """One round; the mean loss of its clients."""
        t, s = self.turn, self.settings
        asked = self.sampled(t)
        clients = self.there(asked, t)
        self.turn += 1
        w = self.server.weights()
        base, sent = self.down.send(w, t, self.last[asked].tolist())
        buffers = {name: b.detach().clone() for name, b in self.server.buffers.items()}
        self.traffic.down += sent + len(asked) * (_bytes(buffers) + self._extra())
        if not clients:
            self._line("round", clients=0, sampled=len(asked), bytes_up=self.traffic.up, bytes_down=self.traffic.down)
            return math.nan
        work = self.data.work(clients, t, self.fed.batch, s.epochs, s.steps)
        rows = self.method.rows
        seen = self.stores[rows[0]].seen(clients) if rows else torch.from_numpy(self.last[clients] >= 0)
        own = {name: self.stores[name].read(clients) for name in rows}
        view = Round(t, clients, len(self.clients.able), base, self.rate(t), own, dict(self.kept), seen)
        start, pull = self.method.begin(view)
        begin = (base if start is None else start).to(self.vectors.dtype)
        found = self.engine.train(work, t, begin, buffers, pull)
        self.evaluations += int(found.steps.sum())
        deltas = found.weights.double().sub_(begin)
        away = (t - self.last[clients]).tolist()
        arrived, received = self.up.send(clients, deltas, t, away)
        self.traffic.up += received + len(clients) * (_bytes(buffers) + self._extra())
        self._accept(view, work, found, arrived, buffers)
        self.last[clients] = t
        sizes = torch.tensor(self.clients.sizes[clients], dtype=torch.float64)
        losses = found.losses
        fine = losses.isfinite() & torch.tensor([c not in self.liars for c in clients])
        loss = float((losses[fine] * sizes[fine]).sum() / sizes[fine].sum()) if bool(fine.any()) else math.nan
        self._line("train", loss=loss, lr=self.rate(t))
        self._line(
            "round",
            clients=len(clients),
            sampled=len(asked),
            local_steps=int(found.steps.sum()),
            **view.notes,
            rejected=[{"client": r.client, "reason": r.reason} for r in self.rejected],
            bytes_up=self.traffic.up,
            bytes_down=self.traffic.down,
        )
        return loss

    def _extra(self) -> int:
        """Bytes of what a method sends beside an update, each way."""
        extra: int = self.method.extra * self.vectors.size * self.vectors.dtype.itemsize
        return extra

    def _accept(self, view: Round, work: Any, found: Found, arrived: Tensor, buffers: dict[str, Tensor]) -> None:
        """Sort what arrived, let the method make one update of it, and step."""
        s, t, clients = self.settings, view.turn, view.clients
        updates: Any = arrived
        if s.attack is not None and self.liars:
            bad = torch.tensor([c in self.liars for c in clients])
            if bool(bad.any()):
                updates = s.attack.lie(arrived, bad, generator(s.seed, "lies", t))
        places, sound, self.rejected = sort(clients, updates, self.vectors.size, clients)
        ends = {name: b[places] for name, b in found.buffers.items()}
        fine = torch.ones(len(places), dtype=torch.bool)
        for name, b in ends.items():
            if b.is_floating_point():
                ok = b.flatten(1).isfinite().all(1)
                for row in torch.nonzero(fine & ~ok).flatten().tolist():
                    self.rejected.append(Rejected(clients[places[row]], f"buffer {name!r} is not finite"))
                fine &= ok
        if not bool(fine.all()):
            sound, ends = sound[fine], {n: b[fine] for n, b in ends.items()}
            places = [p for p, ok in zip(places, fine.tolist(), strict=True) if ok]
        self.refused += len(self.rejected)
        if not places:
            return
        rows = torch.tensor(places)
        view.clients = [clients[p] for p in places]
        view.rows = {name: own[rows] for name, own in view.rows.items()}
        view.seen, view.deltas, view.steps = view.seen[rows], sound, found.steps[rows]
        weights = torch.ones(len(places), dtype=torch.float64)
        if self.method.weighting == "samples":
            weights = torch.from_numpy(self.clients.sizes[view.clients].astype(np.float64))
        view.weights = weights / weights.sum()
        self._tools(view, t, buffers)
        known = self.stores[self.method.rows[0]].place if self.method.rows else self.last
        view.known = int((known >= 0).sum()) + int((~view.seen).sum())
        update = self.method.finish(view)
        for name in self.method.rows:
            self.stores[name].write(view.clients, view.rows[name])
        self.kept = dict(view.vectors)
        self._notes(view, update)
        self.server.step(update)
        if ends:
            self.server.receive(averaged(ends, view.weights))

    def _tools(self, view: Round, t: int, buffers: dict[str, Tensor]) -> None:
        """What methods ask for beside updates."""
        s = self.settings

        def train(start: Tensor, pull: Pull) -> Found:
            work = self.data.work(view.clients, t, self.fed.batch, s.epochs, s.steps)
            found: Found = self.engine.train(work, t, start.to(self.vectors.dtype), buffers, pull)
            self.evaluations += int(found.steps.sum())
            return found

        view.train = train
        view.gradients_at = lambda w: self._all_rows(view.clients, w)[1]
        view.losses_at = lambda w: self._all_rows(view.clients, w)[0]
        if s.aggregate is not None:
            rule = s.aggregate
            self.memory.generator = generator(s.seed, "aggregate", t)
            view.combine = lambda x, p: rule(x.double(), p, self.memory)

    def _all_rows(self, clients: list[int], w: Tensor) -> tuple[Tensor, Tensor]:
        """Each client's loss over all its rows at given weights, and its gradient."""
        model = self.fed.model()
        self.vectors.put(w.to(self.vectors.dtype), model)
        model.load_state_dict({**model.state_dict(), **self.server.buffers}, strict=False)
        own = dict(model.named_parameters())
        held = [own[name] for name in self.vectors.names]
        losses, gradients = [], []
        for client in clients:
            loss = self.task.training_loss(model, self.data.everything(client))
            found = torch.autograd.grad(loss, held, allow_unused=True)
            parts = [torch.zeros_like(p) if g is None else g for g, p in zip(found, held, strict=True)]
            gradients.append(torch.cat([g.reshape(-1) for g in parts]).double())
            losses.append(float(loss.detach()))
        self.evaluations += len(clients)
        return torch.tensor(losses, dtype=torch.float64), torch.stack(gradients)

    def _notes(self, view: Round, update: Tensor) -> None:
        """What the round knows of itself."""
        lengths = torch.linalg.vector_norm(view.deltas, dim=1)
        together = mean(view.deltas, view.weights).square().sum()
        whole = float((view.weights * lengths.square()).sum())
        view.notes["update_norm"] = float(update.norm())
        view.notes["client_norm"] = float((view.weights * lengths).sum())
        view.notes["drift"] = 1 - float(together) / whole if whole > 0 else 0.0

    # -------------------------------------------------------------------------------------------------------- measuring

    def _line(self, kind: str, **values: Any) -> None:
        line = {"kind": kind, "step": self.turn, **values}
        if self.file is not None:
            self.file.write(line)
        elif self.lines is not None:
            self.lines.append(line)

    def _look(self) -> None:
        """Measure the clients, by the global model and by their own where they have some."""
        self.by_client = self.measure(self.server.model)
        if self.method.personal:
            rows = {name: self.stores[name].read(self.measure.who) for name in self.method.rows}
            self.own = self.measure(self.server.model, self.method.own(rows, self.server.weights()))

    def _evaluate(self) -> float:
        task = self.task
        with self.server.optimizer.evaluating():
            self.validation = task.evaluate(self.server.model)
            self._look()
        self._line("eval", split="validation", **self.validation)
        found = {"global": self.by_client[task.metric]}
        if self.own:
            found["own"] = self.own[task.metric]
        spreads = {which: spread(values, task.goal) for which, values in found.items()}
        said = {f"{which}_{name}": value for which, own in spreads.items() for name, value in own.items()}
        self._line("clients", metric=task.metric, **said)
        value = float(self.validation[task.metric])
        better = self.best is None or (value < self.best if task.goal == "min" else value > self.best)
        if math.isfinite(value) and better:
            self.best = value
        if task.reached(value) and self.reached is None:
            self.reached = self.turn
        return value

    def _problem(self) -> str | None:
        """Why the run cannot go on, if so."""
        if not bool(self.server.weights().isfinite().all()):
            return f"the global weights are not finite after round {self.turn}"
        return None

    def _finish(self, problem: str | None) -> Federated:
        task, test, message = self.task, None, ""
        if not self.by_client:  # killed after the last measurement
            with self.server.optimizer.evaluating():
                self._look()
        if problem is None and self.turn == self.rounds and not math.isfinite(self.validation[task.metric]):
            problem = f"validation {task.metric} was not finite at the end, round {self.turn}"
        if problem is not None:
            status, message = "diverged", problem
        elif self.turn < self.rounds:
            status, message = "stopped", f"stopped after round {self.turn} of {self.rounds}"
        else:
            status = "finished"
            if task.test is not None:
                with self.server.optimizer.evaluating():
                    test = task.evaluate(self.server.model, "test")
            if self.refused:
                message = f"{self.refused} updates were rejected"
        own = {f"own_{name}": values for name, values in self.own.items()}
        result = {
            "status": status,
            "steps": self.turn,
            "gradient_evaluations": self.evaluations,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "validation": dict.fromkeys(self.validation) if status == "diverged" else self.validation,
            "test": test,
            "best_validation": self.best,
            "time_to_target_steps": self.reached,
            "skipped_steps": 0,
            "message": message,
            "notes": [] if self.fed.reason is None else [f"not stacked: {self.fed.reason}"],
            "monitor": None,
            "executor": self.fed.engine,
            "bytes_up": self.traffic.up,
            "bytes_down": self.traffic.down,
            "rejected": self.refused,
            "liars": sorted(self.liars),
            "clients": {"number": self.measure.who, **self.by_client, **own},
        }
        if self.folder is not None:
            write_json(self.folder / RESULT, result)
        return Federated(
            result, self.folder, self.server.model, self.lines, self.fed, self.record, type(self.fed).render
        )

    def _ended(self, result: dict[str, Any]) -> Federated:
        """A federation that has ended before, as its records tell it."""
        assert self.folder is not None
        saved, _ = load_checkpoint(self.folder)
        model = self.fed.model()
        if saved is not None:
            model.load_state_dict(saved["model"])
        return Federated(result, self.folder, model, None, self.fed, self.record, type(self.fed).render)


def _bytes(buffers: dict[str, Tensor]) -> int:
    return sum(b.numel() * b.element_size() for b in buffers.values())
