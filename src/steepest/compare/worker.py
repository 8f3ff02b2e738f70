"""The process that runs the runs, one after the other, on one thread.

It reads orders as JSON lines, each of one job or of several that may be trained together, and answers with JSON lines:
``{"event": "step", "job": 0, "step": 12}`` a few times a second, ``{"event": "done", "job": 0, "status": "finished",
"message": ""}`` for each job, and ``{"event": "apart"}`` where jobs of an order are better, or only, done one by one.
What tasks print goes to the worker's log. A worker whose driver is gone leaves within a step: the folder then holds
what any killed run leaves.
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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from steepest.core.errors import CheckpointError
from steepest.core.records import CHECKPOINT, PREVIOUS, RESULT, load_checkpoint, lock, write_json
from steepest.fit.leave import Leave
from steepest.fit.loop import train
from steepest.fit.plan import Plan, begin
from steepest.fit.protocol import Trains
from steepest.fit.run import Run, failure
from steepest.fleet.group import Together, train_group
from steepest.fleet.stacked import Stacked
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
        plan = _plan(job, resolve)
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


def _plan(job: dict[str, Any], resolve: Resolve) -> Plan:
    task, strategy = resolve(job)
    leave = Leave.read(job.get("leave"))
    monitor = job.get("monitor", "off")
    return Plan(task, strategy, job["seed"], job["label"], job["device"], monitor=monitor, leave=leave)


def work_together(
    jobs: list[dict[str, Any]],
    together: Together,
    resolve: Resolve,
    on_step: Callable[[Sequence[tuple[int, int]]], None],
    on_end: Callable[[int, Run], None],
) -> bool:
    """Do jobs as one stack; False where they are to be done one by one, those of them that have not ended."""
    try:
        plans, folders = [_plan(job, resolve) for job in jobs], [Path(job["folder"]) for job in jobs]
        left = []
        with contextlib.ExitStack() as held:
            for i, (plan, folder) in enumerate(zip(plans, folders, strict=True)):
                held.enter_context(lock(folder, PATIENCE))
                _drop_damaged(folder)
                if (run := begin(folder, plan, resume=True)) is not None:
                    on_end(i, run)
                else:
                    left.append(i)
            if not left:
                return True

            def step(live: Stacked) -> None:
                on_step([(left[lane.number], lane.run.state.step) for lane in live.active])

            choice = train_group(
                [plans[i] for i in left],
                [folders[i] for i in left],
                together=together,
                on_step=step,
                on_end=lambda k, run: on_end(left[k], run),
            )
        return choice.executor == "stacked"
    except (Exception, SystemExit):  # one by one it shows whose it is
        traceback.print_exc()
        return False


def _drop_damaged(folder: Path) -> None:
    """Where no checkpoint is sound the run starts again: its numbers are the same, so only time is lost."""
    try:
        load_checkpoint(folder)
    except CheckpointError as error:
        print(f"{error} It starts from step 0.", file=sys.stderr)
        for name in (CHECKPOINT, PREVIOUS, RESULT):
            (folder / name).unlink(missing_ok=True)


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
        left = json.dumps(event).encode() + b"\n"
        try:
            while left:
                left = left[os.write(outbox, left) :]
        except BrokenPipeError:
            os._exit(1)

    def done(job: int, status: str, message: str) -> None:
        sys.stdout.flush()
        tell(event="done", job=job, status=status, message=message[:2000])

    def on_step(steps: Sequence[tuple[int, int]]) -> None:
        nonlocal told
        if os.getppid() != driver:
            os._exit(1)
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            for job, step in steps:
                tell(event="step", job=job, step=step)

    with os.fdopen(inbox, "rb") as lines:
        for line in lines:
            order = json.loads(line)
            if len(order["jobs"]) == 1:
                done(0, *work(order["jobs"][0], resolve, lambda step, _: on_step([(0, step)])))
            elif not work_together(
                order["jobs"], order["together"], resolve, on_step, lambda i, run: done(i, run.status, run.message)
            ):
                tell(event="apart")


def main() -> None:
    """The entry of a fresh process: jobs on standard input, answers on standard output, everything else in the log."""
    inbox, outbox = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    serve(inbox, outbox, by_text())
