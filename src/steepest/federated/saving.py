"""What a checkpoint of a federation holds, and the way back from it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch

from steepest.core.errors import CheckpointError
from steepest.core.records import METRICS, RESULT, SCHEMA, Metrics, load_checkpoint, save_checkpoint
from steepest.federated.journal import validations
from steepest.federated.sending import Traffic

if TYPE_CHECKING:
    from steepest.federated.rounds import Rounds


def begin(run: Rounds, stack: ExitStack) -> None:
    """Go on from the checkpoint, if there is one."""
    assert run.folder is not None
    saved, note = load_checkpoint(run.folder)
    if note and any(store.filed for store in run.stores.values()):
        raise CheckpointError(f"{note} What is kept for each client fits only the newest one: begin in a new folder.")
    path = run.folder / METRICS
    if saved is None:
        path.unlink(missing_ok=True)
    else:
        unpack(run, saved)
    (run.folder / RESULT).unlink(missing_ok=True)
    run.file = stack.enter_context(Metrics(path, keep_until=run.turn if saved is not None else None))
    if saved is not None:
        run.validation = validations(run.folder)


def checkpoint(run: Rounds) -> None:
    """Write where the run stands, whole or not at all."""
    if run.folder is None or run.file is None:
        return
    run.file.flush(sync=True)
    save_checkpoint(run.folder, pack(run))
    for store in run.stores.values():
        store.kept()


def pack(run: Rounds) -> dict[str, Any]:
    """Where the run stands, as plain data and tensors."""
    return {
        "schema": SCHEMA,
        "step": run.turn,
        "seconds": run.seconds,
        "cpu_seconds": run.cpu_seconds,
        "gradient_evaluations": run.evaluations,
        "best": run.best,
        "reached": run.reached,
        "refused": run.refused,
        "model": run.server.model.state_dict(),
        "optimizer": run.server.optimizer.state_dict(),
        "vectors": run.kept,
        "stores": {name: store.keep() for name, store in run.stores.items()},
        "last": torch.from_numpy(run.last.copy()),
        "center": run.memory.center,
        "known": run.down.known,
        "sizes": list(run.down.sizes),
        "traffic": [run.traffic.up, run.traffic.down],
        "course": run.course.keep(),
        "privacy": None if run.guard is None else run.guard.keep(),
    }


def unpack(run: Rounds, saved: dict[str, Any]) -> None:
    """Stand where a checkpoint says."""
    run.turn = saved["step"]
    run.seconds, run.cpu_seconds = saved["seconds"], saved["cpu_seconds"]
    run.evaluations, run.best, run.reached = saved["gradient_evaluations"], saved["best"], saved["reached"]
    run.refused = saved["refused"]
    run.server.model.load_state_dict(saved["model"])
    if run.turn:
        run.server.optimizer.load_state_dict(saved["optimizer"])
    run.kept = dict(saved["vectors"])
    for name, store in run.stores.items():
        store.restore(saved["stores"][name])
    run.last = saved["last"].numpy().copy()
    run.memory.center, run.down.known, run.down.sizes = saved["center"], saved["known"], list(saved["sizes"])
    run.traffic = Traffic(*saved["traffic"])
    if "course" in saved:
        run.course.restore(saved["course"])
    if run.guard is not None:
        run.guard.restore(saved["privacy"])
