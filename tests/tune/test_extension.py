"""Ranges that go on: half way, where the best point is next to an end, for every process the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import steepest as st
from steepest.compare.budget import Budget
from steepest.strategy.dimension import Range
from steepest.tasks.registry import load
from steepest.tune.box import Box
from steepest.tune.extension import Extending
from steepest.tune.objective import BlackBox
from steepest.tune.run import tune
from steepest.tune.samplers.quasi import Random
from steepest.tune.scheduler import Whole
from steepest.tune.search import Search
from steepest.tune.share import divided
from steepest.tune.storage import storage
from steepest.tune.store import Memory, Store

SPACE = "sgd(lr=log(1e-3, 1e-1), momentum=near_one(0.0, 0.9))"


def searched(store: Store, best: float, trials: int = 16) -> Search:
    """A search whose values say that one learning rate is the best."""
    space, share = st.space(SPACE), divided(Budget.read(f"{2 * trials} runs"), [1.0], final=False)
    extending = Extending(space, share)
    return Search(
        store, Box.of(space), Random(), Whole(), min(trials, share.explore), 0, extend=extending,
        first=({"sgd.lr": 0.09, "sgd.momentum": 0.5},),
    )  # fmt: skip


def run(made: Search, best: float) -> None:
    objective = BlackBox(lambda p: abs(p["sgd.lr"] - best))
    while (leg := made.take()) is not None:
        made.tell(leg, objective(leg))


@pytest.mark.parametrize("kept", ["memory", "journal", "sqlite"])
def test_a_range_goes_on_where_the_best_point_is_next_to_its_end(kept: str, tmp_path: Path) -> None:
    where = {"memory": None, "journal": tmp_path / "s.journal", "sqlite": tmp_path / "s.db"}[kept]
    store = storage(where)("x", Box.of(st.space(SPACE)), (1,), {})
    made = searched(store, 0.3, trials=20)
    run(made, 0.3)
    box = made.box_of(made.trials())
    lr = box.dimensions["sgd.lr"]
    assert isinstance(lr, Range) and lr.low == 1e-3 and lr.high > 0.1
    assert box.dimensions["sgd.momentum"] == made.box.dimensions["sgd.momentum"]
    extending = [t for t in made.trials() if "extended" in t.notes]
    assert 1 <= len(extending) <= 2
    first = extending[0]
    assert first.index >= 10 and first.point is not None and 0.1 < first.point["sgd.lr"] < lr.high
    assert first.point["sgd.momentum"] == 0.5  # the best point, moved in what was extended alone
    later = [t.point["sgd.lr"] for t in made.trials()[first.index :] if t.point]
    assert sum(x > 0.1 for x in later) > 1 and max(later) <= lr.high
    assert made.spent() == 20  # charged like all else
    assert [t.point for t in searched(store, 0.3, trials=20).trials()] == [t.point for t in made.trials()]


def test_a_best_point_in_the_middle_leaves_the_box_as_it_is() -> None:
    made = searched(Memory(), 0.01)
    run(made, 0.01)
    assert made.box_of(made.trials()) == made.box


def test_no_value_lies_beyond_some_ends() -> None:
    """A momentum of less than 0 is none."""
    space = st.space("sgd(lr=0.1, momentum=near_one(0.0, 0.9))")
    share = divided(Budget.read("20 runs"), [1.0], final=False)
    made = Search(Memory(), Box.of(space), Random(), budget=12, extend=Extending(space, share))
    objective = BlackBox(lambda p: p["sgd.momentum"])
    while (leg := made.take()) is not None:
        made.tell(leg, objective(leg))
    assert made.box_of(made.trials()) == made.box


def test_every_arm_of_a_study_may_and_the_records_say_so(tmp_path: Path) -> None:
    spaces = ["sgd(lr=log(1e-4, 1e-2))", "adam(lr=log(1e-4, 1e-2))"]
    given: dict[str, Any] = {"budget": 30, "steps": 30, "sampler": "sobol", "progress": False, "jobs": 1}
    found = tune(load("quadratic"), spaces, out=tmp_path / "s", **given)
    arms = json.loads((tmp_path / "s" / "trials.json").read_text())["arms"]
    assert all(arm["extended"] and arm["dimensions"][next(iter(arm["dimensions"]))]["high"] > 1e-2 for arm in arms)
    study = json.loads((tmp_path / "s" / "study.json").read_text())["tasks"]["quadratic"]
    assert all(entry["rounds"][0]["extended"] for entry in study.values())
    assert st.parse(found.strategy or "").rule.arguments[0][1] > 1e-2
    spent = [search.spent() for search in found.study.searches.values()]
    assert spent[0] == spent[1] == found.study.share.explore + found.study.share.race
    kept = tune(load("quadratic"), spaces, extend=False, final=False, **{**given, "budget": 16})
    assert all(t["point"]["sgd.lr"] <= 1e-2 for t in kept.trials if "sgd.lr" in t["point"])
