from __future__ import annotations

import json
import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from steepest.core.errors import HyperparameterError
from steepest.schedules import Clock, Plateau, PlateauState

Settings = st.fixed_dictionaries(
    {
        "gamma": st.sampled_from([0.1, 0.5, 0.9]),
        "patience": st.integers(0, 4),
        "threshold": st.sampled_from([0.0, 1e-4, 0.1]),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "mode": st.sampled_from(["min", "max"]),
        "cooldown": st.integers(0, 4),
        "min_factor": st.sampled_from([0.0, 0.05, 0.3]),
    }
)


def ours(plateau: Plateau, metrics: list[float]) -> list[float]:
    state, found = plateau.init(), []
    for value in metrics:
        state = plateau.observe(state, value)
        found.append(plateau.factor(0, Clock(), state))
    return found


def theirs(metrics: list[float], *, gamma: float, min_factor: float, **arguments: Any) -> list[float]:
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = ReduceLROnPlateau(opt, factor=gamma, min_lr=min_factor, eps=0.0, **arguments)
    found = []
    for value in metrics:
        scheduler.step(value)
        found.append(float(opt.param_groups[0]["lr"]))
    return found


@settings(max_examples=200)
@given(settings=Settings, metrics=st.lists(st.floats(0.0, 100.0), max_size=60))
def test_agrees_with_torch(settings: dict[str, Any], metrics: list[float]) -> None:
    assert ours(Plateau(**settings), metrics) == pytest.approx(theirs(metrics, **settings), rel=1e-12)


@given(settings=Settings, seed=st.integers(0, 1000))
def test_agrees_with_torch_on_a_curve_that_flattens(settings: dict[str, Any], seed: int) -> None:
    noise = torch.rand(120, generator=torch.Generator().manual_seed(seed)).tolist()
    metrics = [math.exp(-t / 20) + 0.1 * x for t, x in enumerate(noise)]
    assert ours(Plateau(**settings), metrics) == pytest.approx(theirs(metrics, **settings), rel=1e-12)


def test_below_zero_a_worse_value_is_worse() -> None:
    """torch takes the threshold off the signed best: -1 * (1 - 1e-4) = -0.9999, so -0.99995 becomes its new best."""
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = ReduceLROnPlateau(opt)
    scheduler.step(-1.0)
    scheduler.step(-0.99995)
    assert scheduler.best == -0.99995
    plateau = Plateau()
    state = plateau.observe(plateau.observe(plateau.init(), -1.0), -0.99995)
    assert (state.best, state.bad) == (-1.0, 1)
    assert plateau.observe(state, -1.1).best == -1.1


def test_a_tiny_learning_rate_still_falls() -> None:
    """torch drops a reduction that is smaller than 1e-8 in absolute terms; a factor has no such floor."""
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-8)
    scheduler = ReduceLROnPlateau(opt, patience=0)
    for _ in range(3):
        scheduler.step(1.0)
    assert opt.param_groups[0]["lr"] == 1e-8
    assert ours(Plateau(patience=0), [1.0] * 3)[-1] == pytest.approx(0.01)


@given(settings=Settings, metrics=st.lists(st.floats(), max_size=40), cut=st.integers(0, 40))
def test_the_state_is_plain_data_and_resumes(settings: dict[str, Any], metrics: list[float], cut: int) -> None:
    plateau = Plateau(**settings)
    state = saved = plateau.init()
    for i, value in enumerate(metrics):
        if i == cut:
            saved = state = PlateauState(*json.loads(json.dumps(state, allow_nan=False)))
        state = plateau.observe(state, value)
    assert json.loads(json.dumps(state, allow_nan=False)) == list(state)
    if cut <= len(metrics):
        for value in metrics[cut:]:
            saved = plateau.observe(saved, value)
        assert saved == state or cut == len(metrics)
    assert max(settings["min_factor"], 0.0) <= state.factor <= 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_is_not_finite_is_never_better(value: float, mode: Any) -> None:
    plateau = Plateau(mode=mode)
    assert plateau.observe(plateau.init(), value) == PlateauState(None, 1, 0, 1.0)


def test_observing_leaves_the_old_state_alone() -> None:
    plateau = Plateau(patience=0)
    state = plateau.init()
    plateau.observe(plateau.observe(state, 1.0), 2.0)
    assert state == plateau.init() == PlateauState(None, 0, 0, 1.0)


def test_takes_a_tensor() -> None:
    plateau = Plateau()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plateau.observe(plateau.init(), torch.tensor(0.5)).best == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad", [{"gamma": 1.0}, {"patience": 1.5}, {"patience": -1}, {"mode": "up"}, {"cooldown": 0.5}]
)
def test_errors(bad: dict[str, Any]) -> None:
    with pytest.raises(HyperparameterError, match=next(iter(bad))):
        Plateau(**bad)
