from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def run(steepest) -> str:
    assert steepest("train", "quadratic", "-s", "sgd(lr=0.1)", "--out", "one", "--steps", "5").exit_code == 0
    return "one"


def test_the_report_of_a_run_is_written_where_asked(steepest, run: str, tmp_path: Path) -> None:
    done = steepest("report", run)
    assert done.exit_code == 0 and "report: one/report.html" in done.output
    assert (tmp_path / "one/report.html").read_text().lower().startswith("<!doctype html>")
    assert steepest("report", run, "--out", "other.html").exit_code == 0
    assert (tmp_path / "other.html").exists()


def test_it_needs_no_task_code(steepest, run: str, tmp_path: Path) -> None:
    record = json.loads((tmp_path / "one/run.json").read_text())
    (tmp_path / "one/run.json").write_text(json.dumps({**record, "task": "gone"}))
    assert steepest("report", run).exit_code == 0


def test_a_torn_record_is_reported_on_all_the_same(steepest, run: str, tmp_path: Path) -> None:
    metrics = tmp_path / "one/metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-7])
    (tmp_path / "one/result.json").write_text('{"status": "fini')
    done = steepest("report", run)
    assert done.exit_code == 0, done.output


def test_no_records_no_report(steepest, tmp_path: Path) -> None:
    done = steepest("report", "nowhere")
    assert done.exit_code == 2 and "no folder 'nowhere'" in done.output
    (tmp_path / "empty").mkdir()
    done = steepest("report", "empty")
    assert done.exit_code == 2 and "holds no records" in done.output
    assert list((tmp_path / "empty").iterdir()) == []
