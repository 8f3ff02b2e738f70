"""What a search shows while it runs: on a terminal one line that is kept up to date, elsewhere a line for each run."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from steepest.compare.display import duration
from steepest.compare.plan import Job
from steepest.compare.verdict import figure
from steepest.core.records import read_result

EVERY = 0.5
"""Seconds between two drawings."""


class Progress:
    """Hears of runs from the pool.

    Args:
        wanted: Whether anything is shown.
        tell: Hands over what became of a run.
        best: The best so far, in words.
        left: How much of the budget is left, in words.
        stream: Where to.
    """

    def __init__(
        self,
        wanted: bool,
        tell: Callable[[Job, str, str], object],
        best: Callable[[], str],
        left: Callable[[], str],
        stream: TextIO | None = None,
    ) -> None:
        self._tell, self._best, self._left, self.wanted = tell, best, left, wanted
        self._stream = stream or sys.stderr
        self._live = wanted and self._stream.isatty()
        self._running: dict[tuple[str, str, int], tuple[Job, int]] = {}
        self._drawn = 0.0
        self._asked = 0.0
        self._words = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._clear()

    def started(self, job: Job) -> None:
        self._running[job.key] = (job, 0)

    def step(self, job: Job, step: int) -> None:
        self._running[job.key] = (job, step)

    def paused(self, job: Job) -> None:
        self._running.pop(job.key, None)

    def retried(self, job: Job, message: str) -> None:
        self._running.pop(job.key, None)
        self._say(f"{_named(job)}: {message} It is tried again.")

    def ended(self, job: Job, status: str, message: str) -> None:
        self._running.pop(job.key, None)
        self._tell(job, status, message)
        if status == "stopped":
            return
        now = time.monotonic()
        if not self._words or now - self._asked > EVERY:  # stacks end many at a time
            self._words, self._asked = f"best so far: {self._best()}", now
        if not self._live or status == "failed":
            result = read_result(job.folder)
            task = job.ground.task
            value = result["validation"].get(task.metric) if result is not None and status == "finished" else None
            came = f"{task.metric} {figure(value)}" if value is not None else f"{status}: {message}"
            self._say(f"{_named(job)}: {came}  {job.candidate.text}  [{self._left()}; {self._words}]")

    def tick(self) -> None:
        if not self._live or time.monotonic() - self._drawn < EVERY:
            return
        self._drawn = time.monotonic()
        parts = [f"{job.key[2]}: {100 * step // job.ground.task.steps}%" for job, step in self._running.values()]
        line = f"{self._left()}; {self._words or 'no trial has ended yet'}; running {', '.join(parts)}"
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[K" + (line if len(line) <= width else line[: width - 3] + "..."))
        self._stream.flush()

    def _say(self, text: str) -> None:
        if self.wanted:
            self._clear()
            print(text, file=self._stream, flush=True)

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def _named(job: Job) -> str:
    return f"{job.candidate.label.removesuffix(', tuned')}, run {job.key[2]}"


def time_left(seconds: float) -> str:
    """Words for a budget of time."""
    return f"{duration(max(0.0, seconds))} left"
