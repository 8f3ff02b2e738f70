"""Runs that are left before their end: paused and taken up again, or ended because others were better."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

import steepest as st
from steepest.compare.plan import ComparisonError
from steepest.core.records import load_checkpoint
from steepest.fit.leave import Leave
from steepest.fit.loop import train
from steepest.fit.plan import Plan, begin
from steepest.fleet.group import train_group
from steepest.tasks.registry import load
from steepest.tune.fidelity import Asha, FidelityError, Median, Rungs
from steepest.tune.leg import Leg
from steepest.tune.run import tune
from steepest.tune.trial import Trial

SPACE = "sgd(lr=log(1e-3, 1))"


def plan(**changes: Any) -> Plan:
    task = dataclasses.replace(load("quadratic(noise=0.5)"), steps=40, eval_every=10)
    return Plan(task, st.parse("adamw(lr=0.05) | cosine"), **changes)


def test_a_run_that_pauses_goes_on_to_the_same_numbers_to_the_bit(tmp_path: Path) -> None:
    whole = train(plan(), _begun(tmp_path / "whole", plan()))
    folder = _begun(tmp_path / "parts", plan())
    for at in (7, 20):  # one of them between two evaluations
        run = train(plan(leave=Leave(at)), folder)
        assert (run.status, run.result["steps"]) == ("paused", at)
        again = begin(folder, plan(leave=Leave(at)), resume=True) or train(plan(leave=Leave(at)), folder)
        assert again.validation == run.validation  # who comes back to it finds the same
    assert begin(folder, plan(), resume=True) is None
    end = train(plan(), folder)
    assert (end.status, end.validation, end.test) == (whole.status, whole.validation, whole.test)
    assert end.metrics() == whole.metrics()
    ours, theirs = (load_checkpoint(f)[0] for f in (folder, tmp_path / "whole"))
    assert ours is not None and theirs is not None
    for name, tensor in ours["model"].items():
        assert torch.equal(tensor, theirs["model"][name])


def _begun(folder: Path, of: Plan) -> Path:
    folder.mkdir()
    assert begin(folder, of, resume=True) is None
    return folder


def test_a_run_ends_where_nothing_so_far_was_as_good(tmp_path: Path) -> None:
    reached = [line["loss"] for line in train(plan(), None).metrics("eval")]
    halted = train(plan(leave=Leave(limits=((10, math.inf), (20, min(reached[:3]) - 1e-6)))), None)
    assert (halted.status, halted.result["steps"]) == ("halted", 20)
    assert halted.validation["loss"] == reached[2] and halted.test is None and "as good as" in halted.message
    assert train(plan(leave=Leave(limits=((20, min(reached[:3])),))), None).status == "finished"


def test_in_a_stack_too(tmp_path: Path) -> None:
    plans = [plan(seed=k, leave=Leave(at)) for k, at in enumerate((None, 13, 20, None))]
    ended: dict[int, Any] = {}
    train_group(plans, [None] * 4, together="stacked", on_end=lambda k, run: ended.update({k: run}))
    assert [(ended[k].status, ended[k].result["steps"]) for k in range(4)] == [
        ("finished", 40), ("paused", 13), ("paused", 20), ("finished", 40),
    ]  # fmt: skip
    for k in range(4):
        alone = train(plans[k], None)
        assert ended[k].validation == pytest.approx(alone.validation, abs=1e-5)


# ------------------------------------------------------------------------------------------------------ median stopping


@pytest.mark.parametrize("percentile", [50.0, 25.0])
@pytest.mark.parametrize("grace", [0, 3])
def test_by_value_it_decides_as_optuna_s_pruners_do(percentile: float, grace: int) -> None:
    draw = np.random.default_rng(0)
    pruner = optuna.pruners.PercentilePruner(percentile, n_startup_trials=4, n_warmup_steps=grace)
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    rule = Median(percentile=percentile, grace=grace, enough=4, of="value")
    trials: list[Trial] = []
    decided = [0, 0]
    for number in range(40):
        curve = np.cumsum(draw.normal(-0.1, 0.4, 8)).tolist()
        theirs, mine, pruned = study.ask(), Trial(number, number, (Leg(number, number, {}),)), False
        for step, value in enumerate(curve):
            theirs.report(value, step)
            ours = rule.stops(mine, list(enumerate(curve[: step + 1])), trials)
            assert ours == theirs.should_prune()
            decided[ours] += 1
            if ours:
                pruned = True
                break
        study.tell(theirs, None if pruned else curve[-1], state=optuna.trial.TrialState.PRUNED if pruned else None)
        status: Any = "stopped" if pruned else "finished"
        notes = {"curve": [[s, v] for s, v in enumerate(curve)]}
        trials.append(
            Trial(number, number, (Leg(number, number, {}, status=status, values=(curve[-1],), notes=notes),))
        )
    assert min(decided) > 5


def test_limits_say_what_stops_says() -> None:
    draw = np.random.default_rng(1)
    others = [
        Trial(k, k, (Leg(k, k, {}, status="finished", notes={"curve": [[s, float(v)] for s, v in enumerate(of)]}),))
        for k, of in enumerate(draw.normal(0, 1, (6, 5)))
    ]
    rule, mine = Median(), Trial(9, 9, (Leg(9, 9, {}),))
    limits = dict(rule.limits(others))
    for best in (-1.0, -0.2, 0.0, 0.3, 1.0):
        for step in range(5):
            assert rule.stops(mine, [(step, best)], others) == (best > limits[step])


@pytest.mark.parametrize("bad", [{"percentile": 0}, {"percentile": 101}, {"of": "mean"}, {"enough": 0}, {"grace": -1}])
def test_bad_arguments(bad: dict[str, Any]) -> None:
    with pytest.raises(FidelityError, match="given"):
        Median(**bad)


def test_trials_of_a_task_are_stopped_and_pay_for_what_they_had(tmp_path: Path) -> None:
    found = tune(
        load("quadratic(noise=0.5)"), SPACE, budget=24, steps=60, sampler="random", scheduler="median", final=False,
        jobs=1, out=tmp_path / "s", progress=False, extend=False,
    )  # fmt: skip
    search = next(iter(found.study.searches.values()))
    legs = search.store.legs()
    stopped = [leg for leg in legs if leg.status == "stopped"]
    assert stopped and all(leg.reached is not None and 15 <= leg.reached < 60 for leg in stopped)
    assert all(leg.charge == pytest.approx((leg.reached or 0) / 60) for leg in stopped)
    assert sum(leg.charge for leg in legs if leg.status != "withdrawn") <= 24
    assert len(found.trials) > 16  # more than whole runs would have been
    best = found.study.best()
    assert best is not None and best[1].trial.status == "finished"
    results = [json.loads(p.read_text()) for p in (tmp_path / "s").glob("trials/*/*/*/result.json")]
    assert sum(r["status"] == "halted" for r in results) == len(stopped)


# --------------------------------------------------------------------------------------------------- climbing, going on


def test_a_trial_that_climbs_on_is_one_run_and_pays_for_each_step_once(tmp_path: Path) -> None:
    scheduler = Asha(Rungs(60, eta=2, least=15, climb="on"))
    found = tune(
        load("quadratic(noise=0.5)"), SPACE, budget=8, steps=60, sampler="random", scheduler=scheduler, final=False,
        jobs=1, out=tmp_path / "s", progress=False, extend=False,
    )  # fmt: skip
    search = next(iter(found.study.searches.values()))
    for trial in search.trials():
        climbed = [leg for leg in trial.main if leg.status in ("paused", "finished")]
        assert [leg.steps for leg in climbed] == [15, 30, None][: len(climbed)]
        assert sum(leg.charge for leg in climbed) == pytest.approx((climbed[-1].steps or 60) / 60)
    tops = [t for t in search.trials() if len(t.main) == 3]
    assert tops
    for trial in tops:  # the same numbers as a run that was never paused
        run = next((tmp_path / "s").glob(f"trials/*/*/trial-{trial.number:03d}/run.json"))
        text, seed = (json.loads(run.read_text())[key] for key in ("strategy", "seed"))
        alone = st.fit("quadratic(noise=0.5)", text, steps=60, seed=seed, progress=False, monitor="off")
        assert alone.validation["loss"] == trial.main[-1].values[0]


def test_climbing_on_is_for_rungs() -> None:
    with pytest.raises(ComparisonError, match="which climb rungs"):
        tune("quadratic", SPACE, budget=8, climb="on", progress=False)
    with pytest.raises(ComparisonError, match="Did you mean 'on'"):
        tune("quadratic", SPACE, budget=8, climb="onn", scheduler="asha", progress=False)  # type: ignore[arg-type]


def test_any_function_may_report_on_its_way_and_is_ended_there() -> None:
    calls = []

    def f(point: Any, report: Any) -> float:
        for step in range(1, 11):
            calls.append(step)
            report(step, point["x"] + 1 / step)
        return float(point["x"] + 0.1)

    rule = Median(grace=3, enough=3)
    found = st.tune.minimize(f, {"x": (0.0, 1.0)}, budget=20, sampler="random", scheduler=rule, full=10)
    stopped = [t for t in found.trials if t.status == "stopped"]
    assert stopped and all(3 <= (t.last.reached or 0) < 10 for t in stopped)
    assert all(t.last.charge == (t.last.reached or 0) / 10 for t in stopped)
    assert len(found.trials) > 20 and sum(t.last.charge for t in found.trials) <= 20
    assert len(calls) == sum(t.last.reached or 10 for t in found.trials)
    assert found.value is not None and found.value == min(t.value for t in found.trials if t.status == "finished")
