"""Trials through fleets: as many at once as is said, the same results, the same guarantees."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import steepest as st
from steepest.compare.budget import Budget
from steepest.compare.clock import Clock
from steepest.compare.plan import ComparisonError
from steepest.tasks.task import Task
from steepest.tune.batch import MOST, START, Batch
from steepest.tune.box import Box
from steepest.tune.leg import ENDED, Leg
from steepest.tune.objective import Outcome
from steepest.tune.race import Race
from steepest.tune.run import tune
from steepest.tune.samplers import sampler
from steepest.tune.search import Search
from steepest.tune.share import Share, divided
from steepest.tune.storage import storage
from steepest.tune.store import Memory

SPACE = "sgd(lr=log(1e-3, 0.3), momentum=near_one(0, 0.9))"


def points(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def task(steps: int = 24) -> Task:
    return Task(
        "points", lambda: nn.Linear(4, 3), lambda out, batch: nn.functional.cross_entropy(out, batch[1]),
        points(200, 0), points(64, 1), points(64, 2), batch_size=16, steps=steps, eval_every=12,
    )  # fmt: skip


def results(folder: Path) -> dict[str, Any]:
    return {
        str(p.relative_to(folder)): json.loads(p.read_text()) for p in sorted(folder.glob("trials/*/*/*/result.json"))
    }


def run(out: Path, **changes: Any) -> Any:
    options = {"budget": 16, "sampler": "sobol", "final": False, "jobs": 1, "together": "stacked", "extend": False}
    return tune(task(), SPACE, out=out, progress=False, **{**options, **changes})


def test_stacked_trials_are_the_trials_alone(tmp_path: Path) -> None:
    run(tmp_path / "stacked")
    run(tmp_path / "alone", together="processes")
    ours, theirs = results(tmp_path / "stacked"), results(tmp_path / "alone")
    first = sorted(ours)[:10]  # the search; whom the race repeats may depend on rounding
    assert first == sorted(theirs)[:10]
    assert {ours[name]["executor"] for name in first} == {"stacked"}
    assert {r["executor"] for r in theirs.values()} == {"alone"}
    for name in first:
        assert ours[name]["validation"] == pytest.approx(theirs[name]["validation"], abs=1e-5)
        assert (ours[name]["status"], ours[name]["steps"]) == (theirs[name]["status"], theirs[name]["steps"])
        assert ours[name]["test"] is None


def test_a_strategy_that_cannot_be_stacked_is_asked_one_by_one(tmp_path: Path) -> None:
    found = tune(
        task(), "sophia(lr=log(1e-3, 0.3))", budget=4, sampler="random", final=False, jobs=1, together="stacked",
        out=tmp_path / "x", progress=False,
    )  # fmt: skip
    assert {r["executor"] for r in results(tmp_path / "x").values()} == {"alone"} and len(found.trials) >= 2


def ended(n: int, seconds: float = 1.0) -> Memory:
    return Memory([Leg(i, i, {"x": i / 100}, charge=1.0, seconds=seconds, status="finished") for i in range(n)])


def count(store: Memory, name: str = "tpe", budget: str = "1000 runs", steps: int = 600, **options: Any) -> int:
    share = divided(Budget.read(budget), [1.0], final=False)
    race = Race(explore=share.explore, race=share.race)
    search = Search(store, Box.of({"x": (0.0, 1.0)}), sampler(name), race, share.explore + share.race)
    batch = Batch(**{"at_once": 2, **options})
    return batch.count(search, task(steps), share)


def test_a_sampler_that_learns_is_asked_for_no_more_than_a_quarter_of_what_it_knows() -> None:
    assert count(ended(0)) == START // 2  # evenly spread at first, by two processes
    assert [count(ended(n)) for n in (10, 20, 40, 64, 400)] == [4, 5, 10, 16, MOST]
    assert count(ended(0), "sobol") == count(ended(40), "random") == 32
    assert count(ended(0), "sobol", "18 runs") == 6  # what is left to explore, shared by two
    assert count(ended(0), "sobol", steps=100) == 1  # too short to be stacked
    assert count(ended(0), "sobol", steps=100, together="stacked") == 32
    assert count(ended(0), "sobol", together="processes") == 1
    assert count(ended(0), "sobol", apart=lambda task: 32) == 1
    assert count(ended(0), most=7) == 7


def test_a_heat_is_handed_out_whole_and_shared_by_all_owners() -> None:
    """Its runs do not wait for one another, only for those of the heat before."""
    search = Search(Memory(), Box.of({"x": (0.0, 1.0)}), sampler("random"), Race(explore=24, race=60), 84)
    share = divided(Budget.read("84 runs"), [1.0], final=False)
    heats = []
    while search.ready(1):
        two = [search.take_some(Batch(at_once=2).count(search, task(600), share)) for _ in range(2)]
        assert not search.take_some(1)
        heats.append([len(legs) for legs in two])
        for leg in [*two[0], *two[1]]:
            assert leg.point is not None
            search.tell(leg, Outcome("finished", (leg.point["x"],), charge=1.0, seconds=1.0))
    assert heats == [[12, 12], [8, 8], [11, 10]]


def test_a_stack_that_was_slower_does_not_speak_for_larger_ones() -> None:
    assert count(ended(0), "sobol", apart=lambda task: 4) == 32
    assert count(ended(10), apart=lambda task: 4) == 1


def test_where_the_budget_is_time_a_batch_takes_no_more_than_a_quarter_of_it() -> None:
    assert count(ended(0), "sobol", "100s") == 1  # nobody knows how long one takes
    assert count(ended(3, seconds=1.0), "sobol", "100s") == 13  # a quarter of 55 s
    assert count(ended(3, seconds=30.0), "sobol", "100s") == 1


def test_shares_know_their_clock() -> None:
    share = Share(1.0, 1.0, 0, Clock(Budget.read("10s"), now=lambda: 0.0))
    assert share.timed and share.exploring() and share.open()
    late = Share(1.0, 1.0, 0, Clock(Budget.read("10s"), before=7.0, now=lambda: 0.0))
    assert not late.exploring() and late.open()


@pytest.mark.parametrize(("arguments", "message"), [({"together": "stack"}, "stacked"), ({"batch": 0}, "at least 1")])
def test_bad_arguments(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match=message):
        run(tmp_path / "x", **arguments)
    assert not (tmp_path / "x").exists()


def legs_of(folder: Path) -> list[Leg]:
    return storage(folder / "study.journal")("points: sgd, tuned", Box.of(st.space(SPACE)), (1,), {}).legs()


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(p) for p in path.read_text().split()] if path.exists() else []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_no_stacked_trial_is_lost_and_none_is_charged_twice(tmp_path: Path) -> None:
    folder, dice, kills = tmp_path / "study", random.Random(5), 0
    for _ in range(5):
        pid = os.fork()
        if not pid:
            try:
                run(folder, jobs=2, budget=24)
            finally:
                os._exit(0)
        time.sleep(dice.uniform(0.4, 1.2))
        workers = _children(pid)
        if dice.random() < 0.6:
            os.kill(pid, signal.SIGKILL)
            kills += 1
        for worker in workers[: 1 if dice.random() < 0.5 else 2]:
            if Path(f"/proc/{worker}").exists():
                os.kill(worker, signal.SIGKILL)
        os.waitpid(pid, 0)
    run(folder, jobs=2, budget=24)
    legs = legs_of(folder)
    share = divided(Budget.read("24 runs"), [1.0], final=False)
    done = Counter((leg.trial, leg.seed) for leg in legs if leg.status in ENDED)
    assert kills and max(done.values()) == 1 and not any(leg.status == "open" for leg in legs)
    assert sum(leg.charge for leg in legs if leg.status in ENDED) == share.explore + share.race
    assert all(math.isfinite(leg.values[0]) for leg in legs if leg.status == "finished" and leg.values)


def test_a_leg_that_was_told_of_keeps_its_curve() -> None:
    made = Search(Memory(), Box.of({"x": (0.0, 1.0)}), sampler("random"), budget=1)
    leg = made.take()
    assert leg is not None
    made.tell(leg, Outcome("finished", (1.0,), curve=((1, 2.0), (2, 1.0))))
    assert made.store.legs()[0].notes["curve"] == [[1, 2.0], [2, 1.0]]
