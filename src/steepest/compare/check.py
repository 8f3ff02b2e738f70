"""A mistake in a task is found before the first run, and not by every run of the comparison anew."""

from __future__ import annotations

import os
import select
import signal
import sys
import warnings

import torch

from steepest.tasks.task import Task, TaskError

PATIENCE = 120.0
"""Seconds that a check may take; then the runs begin, and say themselves what is wrong."""


def check(task: Task) -> None:
    """Evaluate one batch in a copy of this process; :class:`TaskError` says what fails.

    A copy, because whatever the task's code does there (crash, take all memory, count its calls) must change nothing
    here. Where there is none to be had, or it dies, the runs begin without a word.
    """
    if not hasattr(os, "fork"):
        return
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():  # Python 3.12 warns of threads: they are torch's own, and the copy uses none
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            os.write(write, _mistake(task).encode(errors="replace")[:65536])
        finally:
            os._exit(0)
    os.close(write)
    try:
        with os.fdopen(read, "rb") as answer:
            said = answer.read() if select.select([answer], [], [], PATIENCE)[0] else b""
        if said:
            raise TaskError(said.decode(errors="replace"))
    finally:
        os.kill(pid, signal.SIGKILL)  # it has answered, or never will
        os.waitpid(pid, 0)


def _mistake(task: Task) -> str:
    """What is wrong with a task; empty when nothing is."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        task.check(training=False)
    except TaskError as error:
        return str(error)
    except Exception as error:
        return f"task {task.name!r}: {type(error).__name__}: {error}"
    return ""
