"""The suite's scores and the budget's table, from a summary alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from steepest.report.data import Records, Strategy, Task
from steepest.report.figures.profile import profile_figure
from steepest.report.html import render_child
from steepest.report.tuning import budgets, scores

SUITE: dict[str, Any] = {
    "times": {"a": {"x": 10.0, "y": 20.0}, "b": {"x": 20.0, "y": None}},
    "score": {"a": 1.0, "b": 1 / 3},
    "tau": [1.0, 2.0, 4.0],
    "profile": {"a": [1.0, 1.0, 1.0], "b": [0.0, 0.5, 0.5]},
    "speed": {"against": "a", "of": {"a": 1.0, "b": None}},
    "wins": {"a": 2, "b": 0},
    "leave_one_out": {"x": {"a": 1, "b": 2}, "y": {"a": 2, "b": 1}},
}
SEARCH: dict[str, Any] = {
    "trials": 8, "allowed": 4, "charged": 4, "diverged": 1, "failed": 0, "gradient_budget": 800,
    "gradient_evaluations": 640, "seconds": 3.0, "strategy": "sgd(lr=<b>)", "selected_at": 0.25,
    "extended": ["sgd.lr from log(0.1, 1.0) to log(0.1, 2.2)"], "near_edges": ["sgd.lr (high)"],
}  # fmt: skip
ROW = {"label": "a", "validation": {"mean": 0.3}, "gap": 0.0123}


@pytest.fixture
def records() -> Records:
    tasks = {"x": {"leaderboard": [ROW], "tuning": {"a": SEARCH}}, "y": {"leaderboard": [ROW]}}
    summary = {"tasks": tasks, "overall": {"suite": SUITE}}
    strategies = (Strategy(0, "a", "sgd"), Strategy(1, "b", "lion"))
    return Records("f", False, "", "", (Task("x"), Task("y")), strategies, (0, 1), (), summary, {}, ())


def test_the_scores_are_those_of_the_summary(records: Records) -> None:
    text = render_child(scores(records))
    for words in ("Scores over 2 tasks", "2 of 2", "1 of 2", "0.333", "1 to 2"):
        assert words in text
    assert text.count("<tr>") == 3


def test_the_budget_says_what_was_charged_chosen_and_extended(records: Records) -> None:
    text = render_child(budgets(records))
    for words in ("4 of 4", "of 800", "640", "0.25", "0.3", "+0.0123", "log(0.1, 2.2)", "still near an end"):
        assert words in text
    assert "sgd(lr=&lt;b&gt;)" in text and "<b>)" not in text
    assert text.count("<table") == 1  # nothing was tuned on y


def test_the_profile_is_a_staircase_for_each_strategy(records: Records) -> None:
    made = profile_figure(records)
    assert made is not None
    assert [trace["y"] for trace in made.data] == [[1.0, 1.0, 1.0], [0.0, 0.5, 0.5]]
    assert all(trace["line"]["shape"] == "hv" for trace in made.data)


@pytest.mark.parametrize(
    "summary", [None, {}, {"overall": {"suite": None}}, {"tasks": {"x": 3}, "overall": {"suite": {"tau": 1}}}]
)
def test_without_a_suite_or_with_a_damaged_one_there_is_nothing(records: Records, summary: Any) -> None:
    bare = dataclasses.replace(records, summary=summary)
    assert scores(bare) is None and budgets(bare) is None and profile_figure(bare) is None


def test_the_page_has_the_sections(tmp_path: Path) -> None:
    """From a folder: a tuned comparison's summary leads to both sections, any other to none."""
    from steepest.core.records import write_json
    from steepest.report import render

    experiment = {"kind": "comparison", "tasks": [{"name": "x"}, {"name": "y"}], "seeds": [0],
                  "strategies": [{"label": "a", "text": "sgd"}, {"label": "b", "text": "lion"}]}  # fmt: skip
    write_json(tmp_path / "experiment.json", experiment)
    tasks = {"x": {"leaderboard": [ROW], "tuning": {"a": SEARCH}}, "y": {"leaderboard": [ROW]}}
    write_json(tmp_path / "summary.json", {"tasks": tasks, "overall": {"suite": SUITE}})
    page = render(tmp_path).read_text()
    assert 'id="suite"' in page and 'id="budget"' in page
    write_json(tmp_path / "summary.json", {"tasks": {}, "overall": {}})
    page = render(tmp_path).read_text()
    assert 'id="suite"' not in page and 'id="budget"' not in page
