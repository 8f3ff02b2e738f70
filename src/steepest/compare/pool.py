"""The driver's side: workers that may die, and a queue that none of it is lost from."""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import torch

from steepest.compare.plan import Comparison, Job
from steepest.compare.worker import failure, serve, work
from steepest.core.errors import RecordError
from steepest.core.records import RESULT, write_json
from steepest.fit.interrupt import Stop
from steepest.fit.protocol import Trains
from steepest.strategy.text import parse
from steepest.tasks.task import Task

TRIES = 2
"""How often a run whose worker dies is begun before it counts as failed."""
GRACE = 2.0
"""Seconds that runs have for their last checkpoint when the time is up."""


class Audience(Protocol):
    """Who hears how it goes."""

    def started(self, job: Job) -> None: ...

    def step(self, job: Job, step: int) -> None: ...

    def ended(self, job: Job, status: str, message: str) -> None: ...

    def retried(self, job: Job, message: str) -> None: ...

    def tick(self) -> None:
        """Called a few times a second."""


class Worker(ABC):
    """A process with a pipe in each direction."""

    pid: int
    inbox: int
    outbox: int

    def __init__(self, log: Path) -> None:
        self.log = log
        self.job: Job | None = None
        self._rest = b""

    def give(self, job: Job, comparison: Comparison) -> None:
        """Hand over a job; a worker that is dead by now shows it by closing its outbox."""
        self.job = job
        order = _order(job, comparison)
        with contextlib.suppress(BrokenPipeError):
            os.write(self.inbox, json.dumps(order).encode() + b"\n")

    def hear(self) -> tuple[list[dict[str, Any]], bool]:
        """New events, and whether the worker is still there."""
        data = os.read(self.outbox, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines], bool(data)

    def ask_to_stop(self) -> None:
        """End the present run at its next step, with a checkpoint."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it at once; its run goes on from the last checkpoint when it is begun again."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self, *, kill: bool = False) -> int:
        """Let it go (an idle worker leaves when its inbox closes) and return how it ended."""
        if kill:
            self.kill()
        for handle in (self.inbox, self.outbox):
            os.close(handle)
        return self.wait()

    @abstractmethod
    def wait(self) -> int:
        """Its exit code, negative for a signal."""

    def last_words(self) -> str:
        """The end of its log, where a crash may have left a reason."""
        with contextlib.suppress(OSError):
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            return f" Its last words: {lines[-1].strip()[:300]}" if lines else ""
        return ""


class Fresh(Worker):
    """A new interpreter that gets everything as text; nothing of the caller's script is run again."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        paths = [os.path.abspath(p) for p in sys.path]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        with open(log, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from steepest.compare.worker import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self.pid = self._process.pid
        self.inbox, self.outbox = os.dup(self._process.stdin.fileno()), os.dup(self._process.stdout.fileno())
        self._process.stdin.close()
        self._process.stdout.close()

    def wait(self) -> int:
        return self._process.wait()


class Forked(Worker):
    """A copy of this process, which holds tasks and strategies that have no text.

    Args:
        log: Where it writes what it prints.
        comparison: What it can be asked to run.
        others: Handles of the driver that the copy must let go (pipes of other workers, the folder's lock).
    """

    def __init__(self, log: Path, comparison: Comparison, others: Sequence[int]) -> None:
        super().__init__(log)
        read, self.inbox = os.pipe()
        self.outbox, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():  # Python 3.12 warns of threads: they are torch's own, and the copy uses none
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            try:
                for handle in (self.inbox, self.outbox, *others):
                    os.close(handle)
                paper = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
                for stream in (1, 2):
                    os.dup2(paper, stream)
                sys.stdout, sys.stderr = (os.fdopen(stream, "w", 1, closefd=False) for stream in (1, 2))
                serve(read, write, from_memory(comparison))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(read)
        os.close(write)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def from_memory(comparison: Comparison) -> Callable[[dict[str, Any]], tuple[Task, Trains]]:
    """Resolve jobs from the objects of the comparison."""
    tasks = {g.spelling or g.task.name: g.task for g in comparison.grounds}
    unspelt = {c.label: c.strategy for c in comparison.candidates if not c.spelt}

    def resolve(job: dict[str, Any]) -> tuple[Task, Trains]:
        task = replace(tasks[job["task"]], steps=job["steps"])
        strategy = unspelt[job["label"]] if job["label"] in unspelt else parse(job["strategy"])
        return replace(task, test=None) if job.get("blind") else task, strategy

    return resolve


class Pool:
    """Workers that are kept for as long as it is entered, over any number of rounds of runs.

    A run whose worker dies is begun again once, from its last checkpoint.

    Args:
        comparison: Tasks and strategies of all rounds; a round may take other lengths of these tasks, and, where all
            is text, other strategies.
        folder: Of the comparison; logs of workers that had something to say stay there.
        held: Handles that a copy of this process must let go (the folder's lock).
    """

    def __init__(self, comparison: Comparison, folder: Path, held: Sequence[int] = ()) -> None:
        self.comparison, self.folder, self.held = comparison, folder, tuple(held)
        self._workers: list[Worker] = []
        self._hired = 0
        self._copies: bool | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for worker in self._workers:
            worker.close(kill=kind is not None and worker.job is not None)
        self._workers.clear()
        self._tidy()

    def run(
        self,
        jobs: Sequence[Job],
        at_once: int,
        audience: Audience,
        comparison: Comparison | None = None,
        until: float = math.inf,
    ) -> bool:
        """Run all jobs; False when they were stopped before the end, by the user or by the clock.

        Args:
            jobs: What to run.
            at_once: Workers, at most.
            audience: Who hears how it goes.
            comparison: What the runs belong to, where it is not the pool's (another monitor).
            until: When to stop, by ``time.monotonic``: running runs then write a checkpoint, and whatever still runs
                :data:`GRACE` seconds later is killed.
        """
        comparison = comparison or self.comparison
        if not jobs:
            return True
        if self._copies is None:
            self._copies = os.name != "nt" and (self.comparison.spelt or self._can_copy())
        if not self._copies:
            return self._here(jobs, comparison, audience, until)
        (self.folder / "logs").mkdir(exist_ok=True)
        waiting, tries = deque(jobs), dict.fromkeys((job.key for job in jobs), 0)
        workers, stopping = self._workers, False
        with Stop() as stop, selectors.DefaultSelector() as selector:
            for worker in workers:
                selector.register(worker.outbox, selectors.EVENT_READ, worker)
            while True:
                if (stop.asked or time.monotonic() > until) and not stopping:
                    stopping = True
                    waiting.clear()
                    for worker in workers:
                        if worker.job is not None:
                            worker.ask_to_stop()
                if time.monotonic() > until + GRACE:
                    for worker in workers:
                        if worker.job is not None:
                            worker.kill()
                while len(workers) < min(at_once, len(waiting) + sum(w.job is not None for w in workers)):
                    worker = self._hire()
                    selector.register(worker.outbox, selectors.EVENT_READ, worker)
                for worker in workers:
                    if worker.job is None and waiting:
                        job = waiting.popleft()
                        tries[job.key] += 1
                        worker.give(job, comparison)
                        audience.started(job)
                if not waiting and all(worker.job is None for worker in workers):
                    return not stopping
                for key, _ in selector.select(timeout=0.2):
                    worker = key.data
                    events, alive = worker.hear()
                    for event in events:
                        _note(worker, event, audience)
                    if not alive:
                        selector.unregister(worker.outbox)
                        workers.remove(worker)
                        _bury(worker, worker.close(), waiting, tries, stopping, audience)
                audience.tick()

    def _tidy(self) -> None:
        """Keep only logs that say something."""
        for log in (self.folder / "logs").glob("*.log"):
            if not log.stat().st_size:
                log.unlink()
        with contextlib.suppress(OSError):
            (self.folder / "logs").rmdir()

    def _can_copy(self) -> bool:
        """Whether copies of this process can train; a small one tries."""
        if not hasattr(os, "fork"):
            return False
        if self.comparison.device == "cpu" and _copy_trains():
            return True
        warnings.warn(
            "a copy of this process cannot train (it has used a GPU), so runs go one after the other in this one. "
            "Give tasks by name ('my_module:my_task') to run them in parallel.",
            RuntimeWarning,
            stacklevel=4,
        )
        return False

    def _hire(self) -> Worker:
        log = self.folder / "logs" / f"worker-{self._hired}.log"
        self._hired += 1
        if self.comparison.spelt:
            worker: Worker = Fresh(log)
        else:
            others = [*self.held, *(h for w in self._workers for h in (w.inbox, w.outbox))]
            worker = Forked(log, self.comparison, others)
        self._workers.append(worker)
        return worker

    def _here(self, jobs: Sequence[Job], comparison: Comparison, audience: Audience, until: float) -> bool:
        """In this process, where the system cannot copy one: the same numbers, one run at a time."""
        resolve = from_memory(comparison)
        for job in jobs:
            if time.monotonic() > until:
                return False
            audience.started(job)

            def on_step(step: int, _: float, job: Job = job) -> None:
                audience.step(job, step)
                audience.tick()
                if time.monotonic() > until and threading.current_thread() is threading.main_thread():
                    signal.raise_signal(signal.SIGTERM)  # the run hears it as any other wish to stop

            status, message = work(_order(job, comparison), resolve, on_step)
            audience.ended(job, status, message)
            if status == "stopped":
                return False
        return True


def _order(job: Job, comparison: Comparison) -> dict[str, Any]:
    """A run as a worker is told of it."""
    return {
        "task": job.ground.spelling or job.ground.task.name,
        "strategy": job.candidate.text,
        "label": job.candidate.label,
        "seed": job.seed,
        "steps": job.ground.task.steps,
        "folder": str(job.folder),
        "device": comparison.device,
        "monitor": comparison.monitor,
        "blind": job.trial is not None,
    }


def _note(worker: Worker, event: dict[str, Any], audience: Audience) -> None:
    job = worker.job
    if job is None:
        return
    if event["event"] == "step":
        audience.step(job, event["step"])
    else:
        worker.job = None
        audience.ended(job, event["status"], event["message"])


def _bury(
    worker: Worker, code: int, waiting: deque[Job], tries: dict[Any, int], stopping: bool, audience: Audience
) -> None:
    job = worker.job
    if job is None or stopping:
        return
    reason = f"its process {_cause(code)}.{worker.last_words()}"
    if tries[job.key] < TRIES:
        waiting.appendleft(job)
        audience.retried(job, reason)
        return
    message = f"{reason} It was tried {TRIES} times."
    with contextlib.suppress(RecordError):  # on a full disk the run is simply missing
        write_json(job.folder / RESULT, failure(message))
    audience.ended(job, "failed", message)


def _copy_trains() -> bool:
    """Try a gradient in a copy of this process: torch refuses there after autograd has started threads for a GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            x = torch.ones(2, requires_grad=True)
            torch.autograd.backward(x.square().sum())
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _cause(code: int) -> str:
    """How a process ended, in words.

    >>> _cause(-9), _cause(1)
    ('was killed by SIGKILL (out of memory?)', 'ended with exit code 1')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"was killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
    return f"was killed by signal {-code}"
