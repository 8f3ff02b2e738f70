"""The bar of one run."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

QUIET = 10.0
"""Seconds between lines where the error stream is no terminal; a run that is shorter says nothing on its way."""


class Bar:
    """Steps done, losses and time left, on the error stream: a bar on a terminal, else a line now and then."""

    def __init__(self, wanted: bool, title: str, total: int) -> None:
        console = Console(stderr=True)
        self.on = wanted and console.is_terminal
        self.lines = wanted and not console.is_terminal
        self._title, self._total = title, total
        self._validation = ""
        self._drawn = 0.0 if self.on else time.monotonic()
        self._id: TaskID = TaskID(0)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not self.on,
        )

    def __enter__(self) -> Bar:
        self._progress.start()
        self._id = self._progress.add_task(self._title, total=self._total, said="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._progress.stop()

    def step(self, done: int, loss: float) -> None:
        """After each step; drawn a few times a second."""
        if self.on and (done == self._total or time.monotonic() - self._drawn > 0.05):
            self._drawn = time.monotonic()
            self._progress.update(self._id, completed=done, said=f"loss {loss:.4g}{self._validation}")
        elif self.lines and time.monotonic() - self._drawn > QUIET:
            self._drawn = time.monotonic()
            said = f"{self._title}: step {done} of {self._total}, loss {loss:.4g}{self._validation}"
            print(said, file=sys.stderr, flush=True)

    def evaluated(self, name: str, value: float) -> None:
        """After each evaluation."""
        self._validation = f"  validation {name} {value:.4g}"
