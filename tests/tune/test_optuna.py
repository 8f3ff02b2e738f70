"""Our samplers in optuna's studies, by optuna's own tests of samplers; and optuna's samplers in ours."""

from __future__ import annotations

import math
import pickle
import statistics

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from steepest.core.errors import UnknownName
from steepest.tune import as_optuna, from_optuna, minimize
from steepest.tune.samplers import SAMPLERS, SINGLE
from steepest.tune.samplers.host import dimension, inside, outside

FAST = ("sobol",)
"""Whose conformance is tested every time; the others' with the slow tests."""


def conformance(name: str) -> type:
    """Optuna's test cases for one of our samplers."""

    @pytest.fixture
    def sampler(self):
        return lambda: as_optuna(name)

    values = SingleOnlySamplerTestCase if name in SINGLE else MultiObjectiveSamplerTestCase
    made = type(f"Test{name.title()}", (BasicSamplerTestCase, RelativeSamplerTestCase, values), {"sampler": sampler})
    return made if name in FAST else pytest.mark.slow(made)


for _name in SAMPLERS:
    globals()[f"Test{_name.title()}"] = conformance(_name)


def study_of(name, direction="minimize", **options):
    return optuna.create_study(direction=direction, sampler=as_optuna(name), **options)


def journal(folder):
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "s.journal")))


def bowl(trial):
    return (trial.suggest_float("x", -5, 5) - 2) ** 2 + (trial.suggest_float("y", -5, 5) + 1) ** 2


@pytest.fixture(autouse=True)
def silent():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def test_it_learns_and_large_values_can_be_the_good_ones():
    def line(trial):
        return (trial.suggest_float("x", -5, 5) - 2) ** 2

    low, high = study_of("gp"), study_of("gp", "maximize")
    low.optimize(line, n_trials=12)
    high.optimize(lambda trial: -line(trial), n_trials=12)
    assert low.best_value < 0.01 and high.best_value == -low.best_value
    assert [t.params for t in low.trials] == [t.params for t in high.trials]


def test_a_study_that_is_loaded_again_goes_on_with_other_points(tmp_path):
    parts = []
    for _ in range(2):
        study = study_of("sobol", storage=journal(tmp_path), study_name="s", load_if_exists=True)
        study.optimize(bowl, n_trials=4)
        parts = [t.params["x"] for t in study.trials]
    whole = study_of("sobol")
    whole.optimize(bowl, n_trials=8)
    assert len(set(parts)) == 8 and parts == [t.params["x"] for t in whole.trials]


def test_generations_of_an_evolution_are_kept_with_the_trials(tmp_path):
    study = study_of("cmaes", storage=journal(tmp_path), study_name="s")
    study.optimize(bowl, n_trials=14)
    study = study_of("cmaes", storage=journal(tmp_path), study_name="s", load_if_exists=True)
    study.optimize(bowl, n_trials=14)
    whole = study_of("cmaes")
    whole.optimize(bowl, n_trials=28)
    assert [t.params for t in study.trials] == [t.params for t in whole.trials]


def test_it_stays_away_from_where_trials_fail():
    """40 % of a logarithm of learning rates diverge: optuna's own samplers hear nothing of it and go there for ever."""

    def toy(trial):
        lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        return math.nan if lr > 10**-1.6 else abs(math.log10(lr) + 1.8)

    study = study_of("gp")
    study.optimize(toy, n_trials=24)
    assert sum(t.state == optuna.trial.TrialState.FAIL for t in study.trials[12:]) <= 4


def test_pruned_trials_count_with_their_last_value():
    study = study_of("gp")

    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        for step in range(3):
            trial.report(x + 1.0, step)
        if x > 0.3:
            raise optuna.TrialPruned
        return x

    study.optimize(objective, n_trials=16)
    assert study.best_value < 0.05
    assert statistics.median(t.params["x"] for t in study.trials[10:]) < 0.2


def test_what_is_there_only_sometimes_is_searched_too():
    def objective(trial):
        if trial.suggest_categorical("kernel", ["rbf", "linear"]) == "rbf":
            return abs(math.log10(trial.suggest_float("gamma", 1e-3, 1.0, log=True)) + 2)
        return 2.0

    study = study_of("tpe")
    study.optimize(objective, n_trials=40)
    assert study.best_value < 0.15 and sum("gamma" not in t.params for t in study.trials) < 20


def test_threads_of_one_study_try_different_points():
    study = study_of("sobol")
    study.optimize(bowl, n_trials=12, n_jobs=3)
    assert len({t.params["x"] for t in study.trials}) == 12


def test_it_can_be_pickled_and_a_misspelt_one_is_refused():
    assert pickle.loads(pickle.dumps(as_optuna("tpe"))).sampler == "tpe"
    with pytest.raises(UnknownName, match="'tpe'"):
        as_optuna("tpee")


@pytest.mark.parametrize(
    "of",
    [
        FloatDistribution(-10.2, 10.2, step=0.1), FloatDistribution(1e-5, 1.0, log=True), FloatDistribution(-3, 3),
        IntDistribution(-10, 10, step=5), IntDistribution(1, 100, log=True), IntDistribution(0, 3),
        CategoricalDistribution(("a", None, 3)),
    ],
    ids=repr,
)  # fmt: skip
def test_values_go_there_and_back(of):
    ours = dimension(of)
    for u in (0.0, 0.2, 0.5, 0.9, 1.0):
        value = outside(of, ours.at(u))
        assert of._contains(of.to_internal_repr(value)) and ours.holds(inside(of, value))
        assert outside(of, inside(of, value)) == value


def test_samplers_of_optuna_search_here():
    def objective(point):
        return (point["x"] - 2) ** 2 + (point["y"] + 1) ** 2

    theirs = from_optuna(lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=8))
    found = minimize(objective, {"x": (-5.0, 5.0), "y": (-5.0, 5.0)}, budget=20, sampler=theirs)
    assert found.value < 0.05
    again = minimize(objective, {"x": (-5.0, 5.0), "y": (-5.0, 5.0)}, budget=20, sampler=theirs)
    assert [t.point for t in found.trials] == [t.point for t in again.trials]
