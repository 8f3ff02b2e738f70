from collections.abc import Callable
from pathlib import Path
from typing import Any

from steepest.report.data import load
from steepest.report.html import render_child
from steepest.report.opening import header, legend, title, verdict


def test_the_title_says_what_met_what(rough: Path, single: Callable[..., Any]) -> None:
    assert title(load(rough)) == "3 strategies on digits-cnn and char-transformer"
    single(rough / "one", "t", "cnn", "cnn()", 0)
    assert title(load(rough / "one")) == "cnn on t"


def test_the_header_counts_the_runs(rough: Path) -> None:
    facts = "30 of 30 runs ended · 1 diverged · 1 failed · 5 seeds · 2026-11-20 12:00 UTC"
    assert facts in render_child(header(load(rough)))


def test_a_verdict_is_said_once(experiment: Callable[..., Path], tmp_path: Path) -> None:
    folder = experiment(tmp_path, tasks=("t",), seeds=2)
    text = (folder / "summary.json").read_text()
    (folder / "summary.json").write_text(
        text.replace("adamw is best on 2 of 2 tasks; transformer is not", "On t, adamw is best; transformer is not")
    )
    assert verdict(load(folder)).count("On t, adamw is best") == 1


def test_ended_runs_without_a_summary_are_told_from_unfinished_ones(
    experiment: Callable[..., Path], tmp_path: Path
) -> None:
    made = verdict(load(experiment(tmp_path, tasks=("t",), seeds=1, summary=False)))
    assert "Every run has ended, but the comparison was not summed up" in made and "Not finished" not in made


def test_the_legend_has_a_button_for_each_strategy(rough: Path) -> None:
    made = legend(load(rough))
    assert made is not None
    assert made.count("<button") == 3 == made.count('aria-pressed="true"') and 'data-strategy="s2"' in made
