"""``steepest recommend`` as it is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_it_answers_with_a_command_to_paste_and_reports_from_records(
    steepest: Callable[..., Any], tmp_path: Path
) -> None:
    words = ["recommend", "rosenbrock", "-s", "adam(lr=0.1)", "-s", "sgd(lr=1e-3)", "-s", "sgd(lr=1e-6)"]
    done = steepest(*words, "--budget", "12 runs", "--steps", "80", "--out", "out")
    assert done.exit_code == 0, done.output
    assert "rejected on rung" in done.output and "report: out/report.html" in done.output
    assert "next:   steepest train rosenbrock -s 'adam(lr=" in done.output and "--steps 80" in done.output
    (tmp_path / "out/report.html").unlink()
    assert steepest("report", "out").exit_code == 0
    assert "What was rejected" in (tmp_path / "out/report.html").read_text()


def test_errors_say_what_to_do(steepest: Callable[..., Any], tmp_path: Path) -> None:
    done = steepest("recommend", "rosenbrock", "-s", "adam", "-s", "sgd(0.1)", "--budget", "2 runs", "--out", "out")
    assert done.exit_code == 2 and "the smallest is about" in done.output
    assert not (tmp_path / "out/recommend.json").exists()
    done = steepest("recommend", "rosenbrock", "--budget", "5", "--out", "out")
    assert done.exit_code == 2 and "a budget is a time ('5m'" in done.output
    done = steepest("recommend", "rosenbrok", "--out", "out")
    assert done.exit_code == 2 and "Did you mean 'rosenbrock'?" in done.output
