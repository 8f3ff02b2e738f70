"""Samplers of optuna as guests: each question is put to a fresh study in memory that holds all trials so far.

Optuna's samplers draw from a generator that starts anew when a study is resumed, hear nothing of trials that ended in
NaN, and keep some of what they know in the study's storage. Here the study is made for one question: its trials are
ours, those that diverged with a penalty for a value (:func:`steepest.tune.sampler.told`), its seed is the trial's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from steepest.strategy.dimension import Choice, Dimension, Range
from steepest.strategy.space import Point
from steepest.tune.box import Box
from steepest.tune.sampler import Proposal, told
from steepest.tune.samplers.quasi import Sobol
from steepest.tune.trial import Trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension as optuna has it: ``near_one`` as the logarithm of the distance to 1, choices by their place."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(tuple(range(len(dimension.values))))
    if dimension.whole and dimension.scale != "near_one":
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.scale == "log")
    if dimension.scale == "near_one":
        return FloatDistribution(1 - dimension.high, 1 - dimension.low, log=True)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.scale == "log")


def inside(dimension: Dimension, value: Any) -> Any:
    """A value as optuna's distribution holds it."""
    if isinstance(dimension, Choice):
        return dimension.values.index(value)
    if dimension.scale == "near_one":
        return min(max(1 - float(value), 1 - dimension.high), 1 - dimension.low)
    return value


def outside(dimension: Dimension, value: Any) -> Any:
    """The value that is meant, with as many digits as a range draws."""
    if isinstance(dimension, Choice):
        return dimension.values[value]
    x = 1 - value if dimension.scale == "near_one" else value
    return dimension.at(min(max(dimension.place(x), 0.0), 1.0)) if isinstance(dimension, Range) else x


@dataclass(frozen=True)
class Guest:
    """A sampler of optuna.

    Args:
        make: The sampler for a seed and a box; it must propose from the first question on.
        study: The study's seed.
        start: How many points of a Sobol sequence come first, for a number of dimensions.
        objectives: How many values are minimised.
        keeps: Which attributes the sampler leaves on a trial, and needs to find there again.
    """

    make: Callable[[int, Box], BaseSampler]
    study: int = 0
    start: Callable[[int], int] = field(default=lambda dimensions: min(10, 2 + dimensions))
    objectives: int = 1
    keeps: tuple[str, ...] = ()

    def ask(self, box: Box, trials: Sequence[Trial], seed: int) -> Proposal:
        values = [told(trials, i) for i in range(self.objectives)]
        if len(values[0]) < self.start(len(box)) and not self.keeps:
            return Sobol(self.study).ask(box, trials, seed)
        with quiet():
            study = optuna.create_study(directions=["minimize"] * self.objectives, sampler=self.make(seed, box))
            for trial in trials:
                if trial.point is not None:
                    study.add_trial(_frozen(box, trial, [v.get(trial.number) for v in values]))
            asked = study.ask()
            point: Point = {}
            for name in box.active(point):
                point[name] = outside(box.dimensions[name], _suggested(asked, name, distribution(box.dimensions[name])))
            kept = study.get_trials(deepcopy=False)[-1].system_attrs
        return Proposal(point, {"optuna": {name: kept[name] for name in self.keeps if name in kept}})


def _suggested(trial: optuna.Trial, name: str, of: BaseDistribution) -> Any:
    if isinstance(of, CategoricalDistribution):
        return trial.suggest_categorical(name, of.choices)
    if isinstance(of, IntDistribution):
        return trial.suggest_int(name, of.low, of.high, log=of.log)
    assert isinstance(of, FloatDistribution)
    return trial.suggest_float(name, of.low, of.high, log=of.log)


def _frozen(box: Box, trial: Trial, values: Sequence[float | None]) -> FrozenTrial:
    known = [v for v in values if v is not None]
    done = len(known) == len(values)
    point: Mapping[str, Any] = trial.point or {}
    return create_trial(
        state=TrialState.COMPLETE if done else TrialState.FAIL if trial.values is not None else TrialState.RUNNING,
        values=known if done else None,
        params={name: inside(box.dimensions[name], value) for name, value in point.items()},
        distributions={name: distribution(box.dimensions[name]) for name in point},
        system_attrs=dict(trial.notes.get("optuna", {})),
    )


_entering = Lock()
_inside: list[tuple[int, int]] = []
"""What held before the first of the threads that are in :func:`quiet`, once for each of them."""


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna is silent (its GP warns where it falls back), torch computes on one thread, as the runs beside it do."""
    with _entering:
        before = _inside[0] if _inside else (optuna.logging.get_verbosity(), torch.get_num_threads())
        _inside.append(before)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _entering:
            _inside.pop()
            if not _inside:
                optuna.logging.set_verbosity(before[0])
                torch.set_num_threads(before[1])
