"""The process that runs the runs, one after the other, on one thread.

It reads jobs as JSON lines and answers with JSON lines: ``{"event": "step", "step": 12, "loss": 0.3}`` a few times a
second, and ``{"event": "done", "status": "finished", "message": ""}``. What tasks print goes to the worker's log.
A worker whose driver is gone leaves within a step: the folder then holds what any killed run leaves.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from steepest.core.errors import CheckpointError
from steepest.core.records import CHECKPOINT, PREVIOUS, RESULT, load_checkpoint, lock, write_json
from steepest.fit.loop import train
from steepest.fit.plan import Plan, begin
from steepest.fit.protocol import Trains
from steepest.strategy.text import parse
from steepest.tasks.registry import load
from steepest.tasks.task import Task

PATIENCE = 60.0
"""Seconds to wait for an orphan of a killed driver to leave a run folder."""
EVERY = 0.2
"""Seconds between progress events."""

Resolve = Callable[[dict[str, Any]], tuple[Task, Trains]]


def work(job: dict[str, Any], resolve: Resolve, on_step: Callable[[int, float], None]) -> tuple[str, str]:
    """Do one job from wherever its folder stands; returns (status, message). Errors become the status ``"failed"``."""
    folder = Path(job["folder"])
    try:
        task, strategy = resolve(job)
        monitor = job.get("monitor", "off")
        plan = Plan(task, strategy, job["seed"], job["label"], job["device"], monitor=monitor)
        with lock(folder, PATIENCE):
            _drop_damaged(folder)
            run = begin(folder, plan, resume=True) or train(plan, folder, on_step=on_step)
        return run.status, run.message
    except (Exception, SystemExit) as error:
        message = f"{type(error).__name__}: {error}"
        traceback.print_exc()
        with contextlib.suppress(Exception):
            write_json(folder / RESULT, failure(message, traceback.format_exc()))
        return "failed", message


def _drop_damaged(folder: Path) -> None:
    """Where no checkpoint is sound the run starts again: its numbers are the same, so only time is lost."""
    try:
        load_checkpoint(folder)
    except CheckpointError as error:
        print(f"{error} It starts from step 0.", file=sys.stderr)
        for name in (CHECKPOINT, PREVIOUS, RESULT):
            (folder / name).unlink(missing_ok=True)


def failure(message: str, trace: str = "") -> dict[str, Any]:
    """The result of a run that an error or a crash ended."""
    return {
        "status": "failed",
        "steps": None,
        "gradient_evaluations": None,
        "seconds": None,
        "cpu_seconds": None,
        "validation": {},
        "test": None,
        "best_validation": None,
        "time_to_target_steps": None,
        "skipped_steps": None,
        "message": message,
        "notes": [],
        "traceback": trace,
    }


def by_text() -> Resolve:
    """Resolve jobs from their texts; a task is loaded once."""
    tasks = functools.cache(load)

    def resolve(job: dict[str, Any]) -> tuple[Task, Trains]:
        task = replace(tasks(job["task"]), steps=job["steps"])
        return replace(task, test=None) if job.get("blind") else task, parse(job["strategy"])

    return resolve


def serve(inbox: int, outbox: int, resolve: Resolve) -> None:
    """Work until the inbox is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the driver decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warnings.simplefilter("default")  # into the log; never a reason to fail
    torch.set_num_threads(1)
    with contextlib.suppress(RuntimeError):
        torch.set_num_interop_threads(1)
    driver, told = os.getppid(), 0.0

    def tell(**event: Any) -> None:
        try:
            os.write(outbox, json.dumps(event).encode() + b"\n")
        except BrokenPipeError:
            os._exit(1)

    def on_step(step: int, _: float) -> None:
        nonlocal told
        if os.getppid() != driver:
            os._exit(1)
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            tell(event="step", step=step)

    with os.fdopen(inbox, "rb") as lines:
        for line in lines:
            status, message = work(json.loads(line), resolve, on_step)
            sys.stdout.flush()
            tell(event="done", status=status, message=message[:2000])


def main() -> None:
    """The entry of a fresh process: jobs on standard input, answers on standard output, everything else in the log."""
    inbox, outbox = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    serve(inbox, outbox, by_text())
