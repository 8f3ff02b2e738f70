import json
from collections.abc import Callable
from pathlib import Path

from steepest.report.data import load
from steepest.report.ranking import final_values, ranked


def test_the_recorded_order_comes_first_then_the_means(experiment: Callable[..., Path], tmp_path: Path) -> None:
    folder = experiment(tmp_path, tasks=("t",), seeds=2)
    task = load(folder).tasks[0]
    assert [s.label for s in ranked(load(folder), task)] == ["adamw", "transformer", "sgd"]
    summary = json.loads((folder / "summary.json").read_text())
    summary["tasks"]["t"]["leaderboard"].reverse()
    (folder / "summary.json").write_text(json.dumps(summary))
    assert [s.label for s in ranked(load(folder), task)] == ["sgd", "transformer", "adamw"]
    (folder / "summary.json").unlink()
    assert [s.label for s in ranked(load(folder), task)] == ["adamw", "transformer", "sgd"]


def test_a_strategy_without_values_is_last(experiment: Callable[..., Path], tmp_path: Path) -> None:
    special = {("t", "adamw", seed): {"status": "diverged", "stop": 60} for seed in range(2)}
    records = load(experiment(tmp_path, tasks=("t",), seeds=2, runs=special, summary=False))
    assert ranked(records, records.tasks[0])[-1].label == "adamw"
    assert final_values(records, records.tasks[0], records.strategies[1]) == {}
