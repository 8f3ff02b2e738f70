"""Two objectives on a task: the loss against what the training costs."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from steepest.compare.plan import ComparisonError
from steepest.strategy.dimension import SpaceError
from steepest.tasks.registry import load
from steepest.tune.box import Box
from steepest.tune.front import Front, front, with_length
from steepest.tune.leg import Leg
from steepest.tune.run import tune
from steepest.tune.trial import Trial

SPACE = "sgd(lr=log(1e-3, 1))"


def trial(number: int, *values: float, **more: Any) -> Trial:
    return Trial(number, number, (Leg(number, number, {}, values=values, status="finished", charge=1.0, **more),))


def test_the_front_is_what_none_beats_in_both() -> None:
    trials = [trial(0, 3.0, 1.0), trial(1, 2.0, 2.0), trial(2, 2.5, 2.0), trial(3, 1.0, 9.0), trial(4, 2.0, 3.0)]
    lost = Trial(5, 5, (Leg(5, 5, {}, status="diverged"),))
    assert [t.number for t in front([*trials, lost])] == [0, 1, 3]
    for t in trials:
        beaten = any(
            o.values[0] <= t.values[0] and o.values[1] <= t.values[1] and o.values != t.values
            for o in trials if t.values and o.values
        )  # fmt: skip
        assert beaten == (t not in front(trials))


def test_the_members_of_the_front_run_again_on_the_same_seeds() -> None:
    trials = [trial(0, 3.0, 1.0), trial(1, 2.0, 2.0), trial(2, 2.5, 2.0)]
    rule = Front(explore=3.0)
    move = rule.next(trials)
    assert move is not None and (move.trial, move.seed) == (0, 1)
    assert Front(explore=4.0).next(trials) is not None and Front(explore=4.0).next(trials).trial is None  # type: ignore[union-attr]


@pytest.mark.parametrize("against", ["steps", pytest.param("seconds", marks=pytest.mark.slow)])
def test_a_study_of_both(against: Any, tmp_path: Path) -> None:
    from steepest.report import render

    found = tune(
        load("quadratic(noise=0.5)"), SPACE, budget=9, steps=160, sampler="nsga2", against=against, out=tmp_path / "s",
        jobs=1, progress=False, render=render,
    )  # fmt: skip
    rows = found.front
    assert rows and all(a["cost"] <= b["cost"] and a["value"] > b["value"] for a, b in pairwise(rows))
    assert rows[-1]["strategy"] == found.strategy and f"{len(rows)} setting" in found.verdict
    assert any(len(row["fresh"]) == 2 for row in rows)
    legs = next(iter(found.study.searches.values())).store.legs()
    for leg in legs:
        if leg.status == "finished":
            assert leg.point is not None and leg.reached == leg.point["steps"] and len(leg.values or ()) == 2
            assert leg.charge == pytest.approx(leg.reached / 160)
            if against == "steps":
                assert (leg.values or ())[1] == leg.reached
    assert sum(leg.charge for leg in legs if leg.status != "withdrawn") <= 9
    assert legs[0].point is not None and legs[0].point["steps"] == 160  # what was given, at full length
    record = json.loads((tmp_path / "s" / "trials.json").read_text())
    assert record["against"] == against and record["front"] == rows
    page = found.report(tmp_path / "page.html").read_text()
    assert "Validation loss against" in page and "The front on" in page
    assert str(rows[0]["strategy"]) in found.table(show=False)
    again = tune(
        load("quadratic(noise=0.5)"), SPACE, budget=9, steps=160, sampler="nsga2", against=against, out=tmp_path / "s",
        jobs=1, progress=False,
    )  # fmt: skip
    assert again.front == rows


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ComparisonError, match="Did you mean 'steps'"):
        tune("quadratic", SPACE, budget=8, against="step", progress=False)  # type: ignore[arg-type]
    with pytest.raises(ComparisonError, match="no scheduler"):
        tune("quadratic", SPACE, budget=8, against="steps", scheduler="asha", progress=False)
    with pytest.raises(SpaceError, match="no room"):
        with_length(Box.of({"x": (0.0, 1.0)}), 8)
