"""benchmarks/targets.py: what it runs, what it keeps, and how a target comes from that."""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import steepest as st
from steepest import tasks

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import targets as script


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, int]]:
    """A search of seconds, in a folder of its own; the runs that were really made."""
    monkeypatch.setattr(script, "POINTS", 3)
    monkeypatch.setattr(script, "FRESH", (1000, 1001, 1002))
    monkeypatch.setattr(script, "TARGETS", tmp_path / "targets.json")
    monkeypatch.setattr(sys, "argv", ["targets.py", "--keep", str(tmp_path / "keep"), "quadratic(dimension=4)"])
    monkeypatch.setattr(tasks, "load", lambda name: st.tasks.Task(**shortened(name)))
    made: list[tuple[str, int]] = []
    fit = script.fit

    def counted(task: Any, strategy: str, **rest: Any) -> Any:
        made.append((strategy, rest["seed"]))
        return fit(task, strategy, **rest)

    monkeypatch.setattr(script, "fit", counted)
    return made


load = tasks.load


def shortened(name: str) -> dict[str, Any]:
    task = load(name)
    return {**{field: getattr(task, field) for field in task.__dataclass_fields__}, "steps": 12, "eval_every": 4}


def test_every_baseline_reads_the_same_points_in_its_own_units() -> None:
    found = {name: script.settings(name) for name in script.BASELINES}
    assert {len({*settings}) for settings in found.values()} == {script.POINTS}
    for settings in zip(*found.values(), strict=True):
        assert len({s.partition(" | ")[2] for s in settings}) == 1, "one schedule and clip a point"
        for s in settings:
            assert str(st.parse(s).check())
    rates = sorted(float(s.split("lr=")[1].split(",")[0]) for s in found["sgd"])
    assert 3e-3 <= rates[0] < 0.02 and 0.2 < rates[-1] <= 1


def test_a_target_is_the_median_of_the_reruns_of_the_best(short: list[tuple[str, int]], tmp_path: Path) -> None:
    script.main()
    (kept,) = json.loads(script.TARGETS.read_text()).values()
    assert len(short) == len({*short}) == kept["runs"] == 4 * 3 + 4 * 2 * 2 + 3
    assert kept["target"] == pytest.approx(statistics.median(kept["reruns"]), rel=1e-3)
    assert {seed for strategy, seed in short if seed >= 1000 and strategy == kept["strategy"]} == {1000, 1001, 1002}
    best = min(row["median of three"] for row in kept["search"].values())
    assert kept["search"][kept["baseline"]]["median of three"] == best
    assert {row["points"] for row in kept["search"].values()} == {3}


def test_what_is_done_is_not_done_again(
    short: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(script.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--minutes", "0.1"])
    for _ in range(20):
        script.main()
        if script.TARGETS.exists():
            break
        assert "go on with the same command" in capsys.readouterr().out
    assert len(short) == len({*short}) == 31


def test_a_run_that_diverges_is_worth_nothing(tmp_path: Path) -> None:
    runs = script.Runs(tasks.Task(**shortened("rosenbrock")), tmp_path / "runs.jsonl", time.monotonic() + 60)
    assert runs.value("sgd(lr=1)", 0) == math.inf
    assert script.Runs(runs.task, runs.path, 0.0).value("sgd(lr=1)", 0) == math.inf, "read from the file"


def test_the_test_split_is_not_read(tmp_path: Path) -> None:
    runs = script.Runs(load("cancer-mlp"), tmp_path / "runs.jsonl", 0.0)
    assert runs.task.test is None and load("cancer-mlp").test is not None
