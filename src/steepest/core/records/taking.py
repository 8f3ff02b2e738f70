"""A folder becomes a run's own, or is found to be so already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steepest.core.errors import RecordError
from steepest.core.records.files import sweep, write_json
from steepest.core.records.folders import read_result, read_run, refuse_other
from steepest.core.records.names import RUN
from steepest.core.records.provenance import provenance


def take(
    folder: Path,
    here: Mapping[str, Any],
    same: Sequence[str],
    *,
    resume: bool,
    what: str = "run",
    how: str = "resume=True",
    first: Callable[[], None] = lambda: None,
) -> dict[str, Any] | None:
    """Write ``run.json``, or check that the one there is the same; the result of a run that has ended there already.

    The caller holds the folder's lock.

    Args:
        folder: Where.
        here: What ``run.json`` says, without where and when.
        same: The fields of it that make two runs the same.
        resume: Go on in a folder that holds this very run.
        what: What it is, for errors.
        how: How to ask for that.
        first: What is written before ``run.json`` in a fresh folder.
    """
    sweep(folder)
    if not (folder / RUN).exists():
        first()
        write_json(folder / RUN, {**here, **provenance()})
        return None
    refuse_other(folder, read_run(folder), here, same)
    result = read_result(folder)
    if not resume:
        state = "not finished" if result is None else result["status"]
        raise RecordError(f"{folder} holds this {what}, {state}. Go on with {how}, or give another folder.")
    return result if result is not None and result["status"] in ("finished", "diverged") else None
