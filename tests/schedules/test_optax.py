"""Every schedule that optax has too."""

from __future__ import annotations

from typing import Any

import pytest

from steepest.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    OneCycle,
    Polynomial,
    Schedule,
    Sequence,
    Warmup,
    WarmupThen,
)  # fmt: skip

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

TOTAL = 100

PAIRS: dict[str, tuple[Schedule, Any]] = {
    "constant": (Constant(0.3), lambda: optax.constant_schedule(0.3)),
    "cosine": (Cosine(), lambda: optax.cosine_decay_schedule(1.0, TOTAL)),
    "cosine to a minimum": (Cosine(60, end=0.1), lambda: optax.cosine_decay_schedule(1.0, 60, alpha=0.1)),
    "linear": (Linear(0.2, 0.9, 70), lambda: optax.linear_schedule(0.2, 0.9, 70)),
    "polynomial": (Polynomial(80, 2.5, end=0.1), lambda: optax.polynomial_schedule(1.0, 0.1, 2.5, 80)),
    "exponential": (Exponential(0.5, every=20), lambda: optax.exponential_decay(1.0, 20, 0.5)),
    "one cycle, linear": (
        OneCycle(31, start=1 / 25, end=1 / 25e4, shape="linear", steps=TOTAL + 1),
        lambda: optax.linear_onecycle_schedule(TOTAL, 1.0, 0.3, 1.0),
    ),
    "sequence": (
        Sequence((Linear(0.1, 1.0, 20), Exponential(0.9)), (20,), restart=True),
        lambda: optax.join_schedules([optax.linear_schedule(0.1, 1.0, 20), optax.exponential_decay(1.0, 1, 0.9)], [20]),
    ),
}


@pytest.mark.parametrize("name", [n for n in PAIRS if n != "one cycle, linear"])
def test_agrees(name: str) -> None:
    ours, make = PAIRS[name]
    with jax.enable_x64(True):
        theirs = [float(make()(t)) for t in range(TOTAL + 20)]
    assert [ours.function(TOTAL)(t) for t in range(TOTAL + 20)] == pytest.approx(theirs, rel=1e-12, abs=1e-12)


def test_one_cycle_rises_and_falls_between_the_same_corners() -> None:
    ours, make = PAIRS["one cycle, linear"]
    with jax.enable_x64(True):
        theirs = make()
        corners = [float(theirs(t)) for t in (0, 15, 30)]
    assert [ours.function()(t) for t in (0, 15, 30)] == pytest.approx(corners, abs=1e-12)


def test_warmup_cosine_is_one_step_ahead_of_optax_in_its_warmup_and_equal_after() -> None:
    """optax starts from 0 and spends the first step on it."""
    with jax.enable_x64(True):
        schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, 20, TOTAL, end_value=0.1)
        theirs = [float(schedule(t)) for t in range(TOTAL + 10)]
    ours = WarmupThen(Cosine(end=0.1), 20)
    values = [ours.function(TOTAL)(t) for t in range(TOTAL + 10)]
    assert theirs[0] == 0.0
    assert values[0] == 0.05
    assert values[:19] == pytest.approx(theirs[1:20], abs=1e-12)
    assert values[20:] == pytest.approx(theirs[20:], abs=1e-12)
    assert Warmup(20).values(20)[-1] == 1.0
