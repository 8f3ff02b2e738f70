import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steepest.core.errors import RecordError
from steepest.report.data import load


def test_a_comparison_is_read_whole(experiment: Callable[..., Path], tmp_path: Path) -> None:
    records = load(experiment(tmp_path, seeds=2))
    assert [task.name for task in records.tasks] == ["digits-cnn", "char-transformer"]
    assert [strategy.label for strategy in records.strategies] == ["sgd", "adamw", "transformer"]
    assert records.seeds == (0, 1) and len(records.runs) == 12 == records.count("finished")
    assert not records.problems and not records.torn and not records.single
    run = records.of(records.tasks[0], records.strategies[1])[1]
    assert (run.task, run.strategy.label, run.seed, run.last_step) == ("digits-cnn", "adamw", 1, 300)
    assert run.final("loss") == run.result["validation"]["loss"]
    assert run.curve("loss", "validation").steps.tolist() == list(range(0, 301, 25))
    assert len(run.curve("lr").values) == 300 and len(run.curve("no such column").values) == 0


def test_a_single_run_is_read(single: Callable[..., Any], tmp_path: Path) -> None:
    single(tmp_path, "digits-cnn", "cnn", "cnn()", 7)
    records = load(tmp_path)
    assert records.single and records.seeds == (7,) and len(records.runs) == 1
    assert records.strategies[0].text == "cnn()" and records.tasks[0].name == "digits-cnn"


def test_missing_and_unfinished_runs_are_named(experiment: Callable[..., Path], tmp_path: Path) -> None:
    special = {("digits-cnn", "sgd", 0): None, ("digits-cnn", "sgd", 1): {"status": "unfinished", "stop": 60}}
    records = load(experiment(tmp_path, tasks=("digits-cnn",), seeds=2, runs=special, summary=False))
    status = {(run.strategy.label, run.seed): run.status for run in records.runs}
    assert status["sgd", 0] == "missing" and status["sgd", 1] == "unfinished" and status["adamw", 0] == "finished"
    assert records.summary is None and not records.problems
    assert records.of(records.tasks[0], records.strategies[0])[1].last_step == 60


def test_torn_lines_are_counted_and_the_rest_is_read(single: Callable[..., Any], tmp_path: Path) -> None:
    single(tmp_path, "t", "s", "s()", 0, steps=50)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind":"train","step":51,"loss":0.2}\n\x80\xff\n[1]\n{"kind":"train","step":52,"lo')
    (run,) = load(tmp_path).runs
    assert run.torn == 3
    assert run.train["step"][-1] == 51 and run.train["loss"][-1] == 0.2
    assert np.isnan(run.train["lr"][-1])


def test_a_step_written_twice_counts_once(single: Callable[..., Any], tmp_path: Path) -> None:
    single(tmp_path, "t", "s", "s()", 0, steps=10)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind":"train","step":4,"loss":9.0}\n')
    (run,) = load(tmp_path).runs
    assert run.train["step"].tolist() == list(range(1, 11)) and run.train["loss"][3] == 9.0


@pytest.mark.parametrize("name", ["summary.json", "experiment.json"])
def test_a_damaged_file_is_said_and_worked_around(experiment: Callable[..., Path], tmp_path: Path, name: str) -> None:
    experiment(tmp_path, tasks=("digits-cnn",), seeds=2)
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(text[: len(text) // 2])
    records = load(tmp_path)
    assert any(name in problem for problem in records.problems)
    assert len(records.runs) == 6 == records.count("finished") and records.seeds == (0, 1)


def test_a_damaged_result_leaves_the_run_unfinished(experiment: Callable[..., Path], tmp_path: Path) -> None:
    experiment(tmp_path, tasks=("digits-cnn",), seeds=1)
    place = next(tmp_path.glob("runs/*/sgd-*/seed-0"))
    (place / "result.json").write_text('{"status": "fin')
    (place / "run.json").write_text("[]")
    records = load(tmp_path)
    assert [run.status for run in records.runs] == ["unfinished", "finished", "finished"]
    assert len(records.problems) == 2


def test_records_of_other_shapes_do_no_harm(experiment: Callable[..., Path], tmp_path: Path) -> None:
    experiment(tmp_path, tasks=("digits-cnn",), seeds=1)
    (tmp_path / "summary.json").write_text(json.dumps({"tasks": {"digits-cnn": {"leaderboard": "none", "verdict": 3}}}))
    records = load(tmp_path)
    assert records.board(records.tasks[0]) == [] and records.verdict(records.tasks[0]) == "" == records.verdict()


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(RecordError, match=r"no records.*experiment\.json.*--out"):
        load(tmp_path)
