"""Members that train apart: alone by ``fit``'s own loop or in blocks of a stack, one after another or in processes."""

from __future__ import annotations

import io
import multiprocessing
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from steepest.fit.loop import train
from steepest.fit.plan import Plan
from steepest.fit.run import Run
from steepest.fleet.stacked import Stacked

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


def blocks(
    plans: Sequence[Plan], folders: Sequence[Path | None], parts: Sequence[Sequence[int]], at_once: int
) -> dict[int, Run]:
    """Members in parts: each part one stack (a part of one: alone), as many at once as asked, on one thread each.

    A stack of a few dozen small models stays in the processor's cache from step to step, one of hundreds does not; and
    two stacks on two cores do not wait for each other at every product.
    """
    global _work
    if not hasattr(os, "fork") or plans[0].device != "cpu" or at_once == 1 or len(parts) == 1:
        return {row: run for part in parts for row, run in _together(plans, folders, part, None).items()}
    _work = list(plans), list(folders)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            with multiprocessing.get_context("fork").Pool(min(at_once, len(parts)), _one_thread) as pool:
                results = pool.map(_train, parts, chunksize=1)
    finally:
        _work = None
    return {row: _unpacked(plans[row], folders[row], *rest) for part in results for row, *rest in part}


def _together(
    plans: Sequence[Plan], folders: Sequence[Path | None], part: Sequence[int], threads: int | None
) -> dict[int, Run]:
    if len(part) == 1:
        return sequential(plans, folders, part)
    with Stacked([plans[row] for row in part], [folders[row] for row in part], threads) as live:
        live.train()
        return {row: live.finish(k) for k, row in enumerate(part)}


def _one_thread() -> None:
    torch.set_num_threads(1)


Packed = tuple[int, dict[str, Any], bytes | None, list[dict[str, Any]] | None]


def _train(part: Sequence[int]) -> list[Packed]:
    assert _work is not None
    packed: list[Packed] = []
    for row, run in _together(*_work, part, 1).items():
        weights = io.BytesIO()
        if run.model is not None:
            torch.save(run.model.state_dict(), weights)
        packed.append((row, run.result, weights.getvalue() or None, run.lines))
    return packed


def _unpacked(plan: Plan, folder: Path | None, result: Any, weights: Any, lines: Any) -> Run:
    model = None
    if weights is not None:
        model = plan.task.build(plan.seed)
        model.load_state_dict(torch.load(io.BytesIO(weights)))
    return Run(result, folder, model, lines)
