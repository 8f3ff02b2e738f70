"""The search of an arm, on functions whose optimum is known: no model is trained."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from steepest.compare.arms import RANDOM, Arm, arms, defaults
from steepest.compare.plan import ComparisonError
from steepest.compare.search import TUNING_SEED, Round, Trial, choose, propose, ranking, rounds
from steepest.strategy.space import space
from steepest.strategy.text import parse

Cost = Callable[[Trial], float]


def search(arm: Arm, cost: Cost, seed: int = 0) -> tuple[list[Round], dict[int, float]]:
    done: list[Round] = []
    costs: dict[int, float] = {}
    for size in rounds(arm.trials):
        if size:
            done.append(propose(arm, arm.trials, done, costs, seed))
            costs |= {t.number: cost(t) for t in done[-1].trials}
    return done, costs


def tuned(text: str, trials: int) -> Arm:
    return Arm("a", "tuned", (space(text),), None, trials)


def away_from(best: float) -> Cost:
    return lambda t: abs(math.log(t.point["sgd.lr"] / best))


@pytest.mark.parametrize("trials", [1, 2, 3, 4, 5, 7, 8, 16, 25])
def test_the_budget_is_met_exactly_and_every_trial_has_a_number_of_its_own(trials: int) -> None:
    done, costs = search(tuned("sgd(lr=log(1e-4, 1))", trials), away_from(1e-2))
    assert sum(rounds(trials)) == trials == len(costs)
    assert [t.number for r in done for t in r.trials] == list(range(trials))


def test_the_plan_depends_on_the_results_alone() -> None:
    arm = tuned("sgd(lr=log(1e-4, 1), momentum=near_one(0, 0.99))", 12)
    first, second = search(arm, away_from(1e-2)), search(arm, away_from(1e-2))
    assert first == second
    assert [Round.read(r.record()) for r in first[0]] == first[0]
    assert search(arm, away_from(1e-2), seed=1)[0] != first[0]


@pytest.mark.parametrize(("best", "end"), [(3.0, "high"), (2e-5, "low")])
def test_a_range_whose_best_point_is_near_an_end_goes_on_there(best: float, end: str) -> None:
    arm = tuned("sgd(lr=log(1e-4, 1))", 16)
    done, costs = search(arm, away_from(best))
    assert len(done[1].extended) == 1 and "sgd.lr from log(0.0001, 1.0)" in done[1].extended[0]
    beyond = [t for t in done[1].trials if not 1e-4 <= t.point["sgd.lr"] <= 1]
    assert len(beyond) >= len(done[1].trials) / 2 - 1
    trial, _ = choose(done, costs)
    assert trial is not None and (trial.point["sgd.lr"] > 1 if end == "high" else trial.point["sgd.lr"] < 1e-4)


def test_a_best_point_inside_extends_nothing() -> None:
    done, _ = search(tuned("sgd(lr=log(1e-4, 1))", 16), away_from(1e-2))
    assert done[1].extended == [] and done[1].spaces == done[0].spaces


def test_all_trials_of_a_round_have_one_seed_and_repetitions_another() -> None:
    done, _ = search(tuned("sgd(lr=log(1e-4, 1))", 16), away_from(1e-2))
    assert {t.seed for r in done[:2] for t in r.trials} == {TUNING_SEED}
    assert {t.seed for t in done[2].trials} == {TUNING_SEED + 1}


def test_a_setting_that_was_lucky_on_one_seed_is_found_out() -> None:
    arm = tuned("sgd(lr=log(1e-4, 1))", 16)
    lucky = ranking(*_flat(search(arm, away_from(1e-2))))[3].strategy

    def cost(t: Trial) -> float:
        if t.strategy == lucky:
            return -1.0 if t.seed == TUNING_SEED else 5.0
        return away_from(1e-2)(t)

    done, costs = search(arm, cost)
    assert ranking(*_flat((done, costs)))[0].strategy == lucky
    chosen, value = choose(done, costs)
    assert chosen is not None and chosen.strategy != lucky and value < 2.0


def _flat(found: tuple[list[Round], dict[int, float]]) -> tuple[list[Trial], dict[int, float]]:
    return [t for r in found[0] for t in r.trials], found[1]


def test_lost_trials_are_charged_and_never_chosen() -> None:
    arm = tuned("sgd(lr=log(1e-4, 1))", 12)
    done, costs = search(arm, lambda t: math.inf if t.point["sgd.lr"] > 1e-3 else away_from(1e-2)(t))
    chosen, value = choose(done, costs)
    assert len(costs) == 12 and any(map(math.isinf, costs.values()))
    assert chosen is not None and chosen.point["sgd.lr"] <= 1e-3 and math.isfinite(value)
    done, costs = search(arm, lambda t: math.inf)
    assert len(costs) == 12 and choose(done, costs) == (None, math.inf)


def test_settings_that_all_break_on_the_second_seed_leave_the_best_single_run() -> None:
    done, costs = search(tuned("sgd(lr=log(1e-4, 1))", 4), lambda t: math.inf if t.repeats is not None else 1.0)
    chosen, value = choose(done, costs)
    assert chosen is not None and chosen.number == 0 and value == 1.0


# ---------------------------------------------------------------------------------------------------------------- arms


def test_defaults_and_a_random_search_with_twice_the_trials_are_always_there() -> None:
    found = arms(["adamw", "sgd(lr=0.1) | cosine"], 6)
    assert [(a.label, a.kind, a.trials) for a in found] == [
        ("adamw, tuned", "tuned", 6),
        ("adamw, as given", "given", 0),
        ("sgd, tuned", "tuned", 6),
        ("sgd, as given", "given", 0),
        (RANDOM, "random", 12),
    ]
    assert found[3].given == parse("sgd(lr=0.1) | cosine")
    assert len(arms("adamw", 3)) == 3


def test_the_random_search_gives_every_strategy_the_same_share_and_draws_its_own_points() -> None:
    found = arms(["adamw", "lion", "sgd"], 12)
    one, all_ = found[0], found[-1]
    done, _ = search(all_, lambda t: t.number)
    counts = [sum(t.which == w for t in done[0].trials) for w in range(3)]
    assert counts == [4, 4, 4]
    mine, _ = search(one, lambda t: t.number)
    assert not {t.strategy for r in done for t in r.trials} & {t.strategy for r in mine for t in r.trials}


def test_arms_search_the_same_places_in_what_means_the_same() -> None:
    """Common random numbers: where two rules differ, it is not because one was luckier with its points."""
    adamw, _, lion, *_ = arms(["adamw", "lion"], 8)
    for a, b in zip(search(adamw, lambda t: 1.0)[0][0].trials, search(lion, lambda t: 1.0)[0][0].trials, strict=True):
        x, y = adamw.spaces[0].places(a.point), lion.spaces[0].places(b.point)
        assert x["adamw.lr"] == pytest.approx(y["lion.lr"], abs=1e-3)
        assert x["clip_norm.max_norm"] == pytest.approx(y["clip_norm.max_norm"], abs=1e-3)


def test_names_are_those_of_the_rules_where_these_differ() -> None:
    assert [a.label for a in arms(["adamw", "adamw(lr=1)"], 1)][:3] == [
        "adamw, tuned",
        "adamw, as given",
        "adamw(lr=1), tuned",
    ]
    assert arms({"mine": "adamw"}, 1)[0].label == "mine, tuned"
    space_arm = arms("adamw(lr=log(1e-4, 1e-2), weight_decay=0.5)", 2)
    assert space_arm[0].spaces == (space("adamw(lr=log(1e-4, 1e-2), weight_decay=0.5)"),)
    assert space_arm[1].given == parse("adamw(lr=1e-3, weight_decay=0.5)") == defaults(space_arm[0].spaces[0])


def test_what_cannot_be_tuned_is_said() -> None:
    with pytest.raises(ComparisonError, match="at least 1"):
        arms("adamw", 0)
    with pytest.raises(ComparisonError, match="given twice"):
        arms(["adamw", "adamw"], 2)
    with pytest.raises(ComparisonError, match="cannot be tuned"):
        arms([object()], 2)
    with pytest.raises(ComparisonError, match="no strategy"):
        arms([], 2)
