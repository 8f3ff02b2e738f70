"""Killed at any moment, a federation ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from federated_problems import blobs

from steepest.core.errors import RecordError
from steepest.federated import Federation, saving
from steepest.federated.store import Store

SETTINGS: dict[str, Any] = {"sample": 5, "compress": "topk:0.2", "down": "int8", "aggregate": "centered_clip",
                            "attack": "sign_flip:0.2", "absent": 0.2, "holdout": 0.2}  # fmt: skip
METHOD = "scaffold(server=adam(lr=0.05))"


WAITLESS: dict[str, Any] = {"method": "fedbuff(buffer=3, server=adam(lr=0.05))", "down": None, "absent": 0.1,
                            "clock": "lognormal(jitter=0.2)", "available": "diurnal(period=5, zones=2)"}  # fmt: skip
LATE: dict[str, Any] = {"clock": "lognormal:1", "deadline": 9.0, "late": "fewer", "available": "uneven"}


def federation(method: str = METHOD, **more: Any) -> Federation:
    task, clients = blobs()
    return Federation(task, clients, method, **{**SETTINGS, **more})


def bits(folder: Path) -> Any:
    """All that a federation came to, times left out."""
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    lines = (folder / "metrics.jsonl").read_bytes()
    result = json.loads((folder / "result.json").read_text())
    times = ("seconds", "cpu_seconds")
    for name in times:
        saved.pop(name), result.pop(name)
    stores = {}
    for name, kept in saved.pop("stores").items():
        store = Store(8, (folder / f"client-{name}.bin").stat().st_size // (8 * 2 * 8), folder, name)
        store.restore(kept)
        stores[name] = store.read(range(8)).numpy().tobytes()
    flat: list[Any] = []

    def walk(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            flat.append(value.numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                flat.append(key)
                walk(value[key])
        elif isinstance(value, (list, tuple)):
            for each in value:
                walk(each)
        else:
            flat.append(value)

    walk(saved)
    return flat, stores, lines, result


def killed(folder: Path, when: Any, total: int, **more: Any) -> bool:
    """Run in a process of its own that ``when`` kills; whether it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        try:
            when()
            federation(**more).run(total, out=folder, resume=(folder / "run.json").exists())
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def at_checkpoint(n: int, before: bool) -> Any:
    """Kill the process at the n-th checkpoint that it writes: when all else of the round is done, or just after."""

    def arm() -> None:
        save, count = saving.save_checkpoint, [0]

        def counted(*args: Any) -> None:
            count[0] += 1
            if before and count[0] == n:
                os.kill(os.getpid(), signal.SIGKILL)
            save(*args)
            if count[0] == n:
                os.kill(os.getpid(), signal.SIGKILL)

        saving.save_checkpoint = counted  # type: ignore[assignment]

    return arm


@pytest.mark.parametrize(
    "more",
    [{}, WAITLESS, {"engine": "processes"}, {"method": "aligned(client=adam(lr=0.01))", **LATE}, {"method": "apfl"}],
    ids=["rounds", "waitless", "processes", "late, with moments", "own"],
)
def test_killed_before_and_after_checkpoints_it_ends_with_the_same_bits(tmp_path: Path, more: dict[str, Any]) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    federation(**more).run(6, out=whole)
    for n, before in ((1, True), (2, True), (2, False), (2, True)):
        assert killed(torn, at_checkpoint(n, before), 6, **more)
    run = federation(**more).run(6, out=torn, resume=True)
    assert run.status == "finished" and bits(torn) == bits(whole)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, WAITLESS], ids=["rounds", "waitless"])
def test_killed_at_fifty_random_moments_it_ends_with_the_same_bits(tmp_path: Path, more: dict[str, Any]) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    total = 150
    federation(**more).run(total, out=whole)
    random = np.random.default_rng(0)
    kills = 0
    for _ in range(400):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            try:
                federation(**more).run(total, out=torn, resume=(torn / "run.json").exists())
            finally:
                os._exit(0)
        end = time.monotonic() + random.uniform(0.15, 0.6)
        while time.monotonic() < end and os.waitpid(pid, os.WNOHANG)[0] == 0:
            time.sleep(0.002)
        try:
            os.kill(pid, signal.SIGKILL)
            kills += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        except (ProcessLookupError, ChildProcessError):
            break
        if kills == 50:
            break
    federation(**more).run(total, out=torn, resume=True)
    assert kills >= 20 and bits(torn) == bits(whole)


def test_a_folder_is_its_federations(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    first = federation().run(2, out=folder)
    with pytest.raises(RecordError, match="Go on with resume=True"):
        federation().run(2, out=folder)
    with pytest.raises(RecordError, match="belongs to a different experiment"):
        federation(epochs=2).run(2, out=folder, resume=True)
    again = federation(engine="loop").run(2, out=folder, resume=True)  # ended: it is read
    assert again.result == first.result
    assert torch.equal(again.model.state_dict()["0.weight"], first.model.state_dict()["0.weight"])  # type: ignore[union-attr]


def test_in_memory_and_in_a_folder_are_the_same(tmp_path: Path) -> None:
    one, two = federation().run(4), federation().run(4, out=tmp_path / "two")
    assert one.metrics() == two.metrics() and one.result["validation"] == two.result["validation"]


def test_rows_of_a_store_wait_for_their_checkpoint(tmp_path: Path) -> None:
    store = Store(2, 1, tmp_path, "x")
    store.write([0], torch.tensor([[1.0]], dtype=torch.float64))
    saved = store.keep()
    store.kept()
    store.write([0, 1], torch.tensor([[2.0], [3.0]], dtype=torch.float64))  # killed here, before the next checkpoint
    store.write([0], torch.tensor([[4.0]], dtype=torch.float64))
    assert store.read([0, 1]).tolist() == [[4.0], [3.0]]
    back = Store(2, 1, tmp_path, "x")
    back.restore(saved)
    assert back.read([0, 1]).tolist() == [[1.0], [0.0]]
