"""Every schedule that optax has too.

jax starts threads, after which a process cannot fork safely; so optax runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

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
    WarmupThen,
)

pytestmark = pytest.mark.skipif(importlib.util.find_spec("optax") is None, reason="optax is not installed")

TOTAL = 100
STEPS = 120

THEIRS = f"""
import json, jax, optax
jax.config.update("jax_enable_x64", True)
made = dict(
    constant=optax.constant_schedule(0.3),
    cosine=optax.cosine_decay_schedule(1.0, {TOTAL}),
    cosine_end=optax.cosine_decay_schedule(1.0, 60, alpha=0.1),
    linear=optax.linear_schedule(0.2, 0.9, 70),
    polynomial=optax.polynomial_schedule(1.0, 0.1, 2.5, 80),
    exponential=optax.exponential_decay(1.0, 20, 0.5),
    one_cycle=optax.linear_onecycle_schedule({TOTAL}, 1.0, 0.3, 1.0),
    sequence=optax.join_schedules([optax.linear_schedule(0.1, 1.0, 20), optax.exponential_decay(1.0, 1, 0.9)], [20]),
    warmup_cosine=optax.warmup_cosine_decay_schedule(0.0, 1.0, 20, {TOTAL}, end_value=0.1),
)
print(json.dumps({{name: [float(f(t)) for t in range({STEPS})] for name, f in made.items()}}))
"""

OURS: dict[str, Schedule] = {
    "constant": Constant(0.3),
    "cosine": Cosine(),
    "cosine_end": Cosine(60, end=0.1),
    "linear": Linear(0.2, 0.9, 70),
    "polynomial": Polynomial(80, 2.5, end=0.1),
    "exponential": Exponential(0.5, every=20),
    "sequence": Sequence((Linear(0.1, 1.0, 20), Exponential(0.9)), (20,), restart=True),
}


def values(schedule: Schedule) -> list[float]:
    return list(map(schedule.function(TOTAL), range(STEPS)))


@pytest.fixture(scope="module")
def theirs() -> dict[str, list[float]]:
    done = subprocess.run([sys.executable, "-c", THEIRS], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", OURS)
def test_agrees(theirs: dict[str, list[float]], name: str) -> None:
    assert values(OURS[name]) == pytest.approx(theirs[name], rel=1e-12, abs=1e-12)


def test_one_cycle_has_the_same_corners(theirs: dict[str, list[float]]) -> None:
    """optax falls in two straight lines where torch has one, so only the rise is the same."""
    ours = values(OneCycle(31, start=1 / 25, shape="linear", steps=TOTAL + 1))
    assert ours[:31] == pytest.approx(theirs["one_cycle"][:31], abs=1e-12)


def test_warmup_is_a_step_ahead_of_optax_which_spends_the_first_on_nothing(theirs: dict[str, list[float]]) -> None:
    ours, other = values(WarmupThen(Cosine(end=0.1), 20)), theirs["warmup_cosine"]
    assert (ours[0], other[0]) == (0.05, 0.0)
    assert ours[:19] == pytest.approx(other[1:20], abs=1e-12)
    assert ours[20:] == pytest.approx(other[20:], abs=1e-12)
