import json
from collections.abc import Callable
from pathlib import Path

from steepest.report.data import load
from steepest.report.raw import raw


def test_short_curves_are_whole_and_long_ones_keep_their_ends(experiment: Callable[..., Path], tmp_path: Path) -> None:
    records = load(experiment(tmp_path, tasks=("t",), seeds=1, steps=1000))
    whole, thinned = raw(records), raw(records, numbers=600)
    run, cut = whole["runs"][0], thinned["runs"][0]
    assert len(run["train"]["step"]) == 1000 == cut["records"]["train"]
    assert len(cut["train"]["loss"]) <= 30 and (cut["train"]["step"][0], cut["train"]["step"][-1]) == (1, 1000)
    assert {min(run["train"]["loss"]), max(run["train"]["loss"])} <= set(cut["train"]["loss"])
    assert json.loads(json.dumps(cut["result"], allow_nan=False)) == cut["result"]


def test_a_missing_run_has_its_place(experiment: Callable[..., Path], tmp_path: Path) -> None:
    runs = raw(load(experiment(tmp_path, tasks=("t",), seeds=1, runs={("t", "sgd", 0): None})))["runs"]
    assert [run["status"] for run in runs] == ["missing", "finished", "finished"] and runs[0]["train"] == {}
