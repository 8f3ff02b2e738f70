"""The driver's side: workers that may die, and a queue that none of it is lost from."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import traceback
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
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
        order = {
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

    def close(self, *, kill: bool = False) -> int:
        """Let it go (an idle worker leaves when its inbox closes) and return how it ended."""
        if kill:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
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
        task = tasks[job["task"]]
        strategy = unspelt[job["label"]] if job["label"] in unspelt else parse(job["strategy"])
        return replace(task, test=None) if job.get("blind") else task, strategy

    return resolve


@dataclass
class Pool:
    """Runs jobs on workers; a run whose worker dies is begun again once, from its last checkpoint."""

    comparison: Comparison
    folder: Path
    audience: Audience
    held: tuple[int, ...] = ()

    def run(self, jobs: Sequence[Job], at_once: int) -> bool:
        """Run all jobs; False when the user asked to stop before the end."""
        if not jobs:
            return True
        if os.name == "nt" or not (self.comparison.spelt or self._can_copy()):
            return self._here(jobs)
        (self.folder / "logs").mkdir(exist_ok=True)
        waiting, tries = deque(jobs), dict.fromkeys((job.key for job in jobs), 0)
        workers: list[Worker] = []
        number, stopping = 0, False
        with Stop() as stop, selectors.DefaultSelector() as selector:
            try:
                while True:
                    if stop.asked and not stopping:
                        stopping = True
                        waiting.clear()
                        for worker in workers:
                            if worker.job is not None:
                                worker.ask_to_stop()
                    while len(workers) < min(at_once, len(waiting) + sum(w.job is not None for w in workers)):
                        worker = self._hire(number, workers)
                        number += 1
                        workers.append(worker)
                        selector.register(worker.outbox, selectors.EVENT_READ, worker)
                    for worker in workers:
                        if worker.job is None and waiting:
                            job = waiting.popleft()
                            tries[job.key] += 1
                            worker.give(job, self.comparison)
                            self.audience.started(job)
                    if not waiting and all(worker.job is None for worker in workers):
                        return not stopping
                    for key, _ in selector.select(timeout=0.2):
                        worker = key.data
                        events, alive = worker.hear()
                        for event in events:
                            self._note(worker, event)
                        if not alive:
                            selector.unregister(worker.outbox)
                            workers.remove(worker)
                            self._bury(worker, worker.close(), waiting, tries, stop.asked)
                    self.audience.tick()
            except BaseException:
                for worker in workers:
                    worker.close(kill=True)
                workers.clear()
                raise
            finally:
                for worker in workers:
                    worker.close()
                self._tidy()

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

    def _hire(self, number: int, others: Sequence[Worker]) -> Worker:
        log = self.folder / "logs" / f"worker-{number}.log"
        if self.comparison.spelt:
            return Fresh(log)
        return Forked(log, self.comparison, [*self.held, *(h for w in others for h in (w.inbox, w.outbox))])

    def _note(self, worker: Worker, event: dict[str, Any]) -> None:
        job = worker.job
        if job is None:
            return
        if event["event"] == "step":
            self.audience.step(job, event["step"])
        else:
            worker.job = None
            self.audience.ended(job, event["status"], event["message"])

    def _bury(self, worker: Worker, code: int, waiting: deque[Job], tries: dict[Any, int], stopping: bool) -> None:
        job = worker.job
        if job is None or stopping:
            return
        reason = f"its process {_cause(code)}.{worker.last_words()}"
        if tries[job.key] < TRIES:
            waiting.appendleft(job)
            self.audience.retried(job, reason)
            return
        message = f"{reason} It was tried {TRIES} times."
        with contextlib.suppress(RecordError):  # on a full disk the run is simply missing
            write_json(job.folder / RESULT, failure(message))
        self.audience.ended(job, "failed", message)

    def _here(self, jobs: Sequence[Job]) -> bool:
        """In this process, where the system cannot copy one: the same numbers, one run at a time."""
        resolve = from_memory(self.comparison)
        for job in jobs:
            self.audience.started(job)
            order = {
                "task": job.ground.spelling or job.ground.task.name,
                "strategy": job.candidate.text,
                "label": job.candidate.label,
                "seed": job.seed,
                "folder": str(job.folder),
                "device": self.comparison.device,
                "monitor": self.comparison.monitor,
                "blind": job.trial is not None,
            }

            def on_step(step: int, _: float, job: Job = job) -> None:
                self.audience.step(job, step)
                self.audience.tick()

            status, message = work(order, resolve, on_step)
            self.audience.ended(job, status, message)
            if status == "stopped":
                return False
        return True


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
