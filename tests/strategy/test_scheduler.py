"""Schedules side by side: products, early errors, and the state of the one that has some."""

from __future__ import annotations

import pytest

from steepest.core.errors import HyperparameterError
from steepest.schedules import Cosine, Plateau, Step, Warmup
from steepest.schedules.base import Clock
from steepest.strategy.scheduler import Scheduler


def test_factors_on_one_hyperparameter_are_multiplied() -> None:
    parts = [Cosine(), Warmup(10), Step(7, gamma=0.5, on="weight_decay")]
    scheduler = Scheduler(parts, Clock(total=100))
    for t in range(120):
        factors = scheduler.factors(t)
        assert factors["lr"] == parts[0].factor(t, Clock(total=100)) * parts[1].factor(t, Clock(total=100))
        assert factors["weight_decay"] == 0.5 ** (t // 7)


def test_a_length_that_nobody_said_is_an_error_at_once() -> None:
    with pytest.raises(HyperparameterError, match=r"cosine needs the length of training.*steps="):
        Scheduler([Warmup(10), Cosine()], Clock())
    with pytest.raises(HyperparameterError, match="steps_per_epoch="):
        Scheduler([Step(3, by="epoch")], Clock(total=100))


def test_the_state_of_a_plateau_is_saved_and_restored() -> None:
    scheduler = Scheduler([Step(1000), Plateau(gamma=0.5, patience=0)], Clock())
    for loss in (1.0, 2.0, 2.0):
        scheduler.observe(loss)
    assert scheduler.factors(0)["lr"] == 0.25
    saved = scheduler.state_dict()
    other = Scheduler([Step(1000), Plateau(gamma=0.5, patience=0)], Clock())
    other.load_state_dict(saved)
    scheduler.observe(3.0)
    assert other.factors(0)["lr"] == 0.25  # a copy, not a view
    other.observe(3.0)
    assert other.state_dict() == scheduler.state_dict()
    other.load_state_dict({})
    assert other.factors(0)["lr"] == 1.0
