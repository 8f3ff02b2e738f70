"""Members that train apart: each by ``fit``'s own loop, one after another or in processes."""

from __future__ import annotations

import io
import multiprocessing
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from steepest.fit.loop import train
from steepest.fit.plan import Plan
from steepest.fit.run import Run

Ended = Callable[[int, Run], None]
_work: tuple[list[Plan], list[Path | None]] | None = None
"""What copies of this process inherit: tasks and strategies need no text form."""


def sequential(plans: Sequence[Plan], folders: Sequence[Path | None], rows: Sequence[int]) -> dict[int, Run]:
    """One after another, in this process."""
    found: dict[int, Run] = {}
    for row in rows:
        found[row] = train(plans[row], folders[row])
        if found[row].status == "stopped":
            break
    return found


def processes(
    plans: Sequence[Plan], folders: Sequence[Path | None], rows: Sequence[int], at_once: int
) -> dict[int, Run]:
    """In copies of this process, on one thread each; where the system cannot copy one, one after another."""
    global _work
    if not hasattr(os, "fork") or plans[0].device != "cpu":
        return sequential(plans, folders, rows)
    _work = list(plans), list(folders)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            with multiprocessing.get_context("fork").Pool(min(at_once, len(rows)), _alone) as pool:
                results = pool.map(_train, rows, chunksize=1)
    finally:
        _work = None
    return {row: _unpacked(plans[row], folders[row], *rest) for row, *rest in results}


def _alone() -> None:
    torch.set_num_threads(1)


def _train(row: int) -> tuple[int, dict[str, Any], bytes | None, list[dict[str, Any]] | None]:
    assert _work is not None
    run = train(_work[0][row], _work[1][row])
    weights = io.BytesIO()
    if run.model is not None:
        torch.save(run.model.state_dict(), weights)
    return row, run.result, weights.getvalue() or None, run.lines


def _unpacked(plan: Plan, folder: Path | None, result: Any, weights: Any, lines: Any) -> Run:
    model = None
    if weights is not None:
        model = plan.task.build(plan.seed)
        model.load_state_dict(torch.load(io.BytesIO(weights)))
    return Run(result, folder, model, lines)
