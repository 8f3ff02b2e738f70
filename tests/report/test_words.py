import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steepest.report.data import load
from steepest.report.words import difference, duration, figure, mean_sd, moment, run_verdict, signed, spread, standing


@given(st.floats(1e-4, 1e6, exclude_max=True))
def test_four_digits_are_true_to_four_digits(value: float) -> None:
    assert math.isclose(float(figure(value)), value, rel_tol=5.1e-4)


@given(st.floats(-1e6, 1e6), st.floats(1e-5, 1e3))
def test_a_difference_keeps_its_sign_and_is_true_to_its_interval(value: float, half: float) -> None:
    shown, interval = difference(value, value - half, value + half)
    back = [float(text.replace("−", "-")) for text in (shown, *interval.split(" to "))]
    for x, y in zip(back, (value, value - half, value + half), strict=True):
        assert abs(x - y) <= 0.06 * half + 1e-9 + 1e-6 * abs(value)


@pytest.mark.parametrize(
    ("mean", "sd", "words"),
    [
        (None, None, "–"),
        (0.123456, 0.02, "0.123 ± 0.020"),
        (1234.5, 100.0, "1234 ± 100"),
        (0.5, 1e-9, "0.5000 ± 1e-09"),
    ],
)
def test_spread(mean: float | None, sd: float | None, words: str) -> None:
    assert spread(mean, sd) == words


def test_small_words() -> None:
    assert signed(-0.0) == "0" and duration(59.99) == "1 min 00 s" and moment("yesterday") == "yesterday"
    assert mean_sd([1.0, 2.0, 3.0]) == (2.0, 1.0)


def test_a_run_says_how_it_went(rough: Path) -> None:
    records = load(rough)
    task = records.tasks[0]
    run = records.of(task, records.strategies[1])[0]
    assert run_verdict(run, task).startswith("'adamw' on digits-cnn, seed 0: validation loss 0.25")
    assert "best" in run_verdict(run, task) and "at step 300" in run_verdict(run, task)
    assert run_verdict(records.of(task, records.strategies[0])[2], task).endswith("seed 2: diverged at step 120.")


def test_a_standing_claims_nothing(experiment: Callable[..., Path], tmp_path: Path) -> None:
    special = {("t", label, seed): None for label in ("adamw", "transformer") for seed in (0, 1)}
    records = load(experiment(tmp_path, tasks=("t",), seeds=2, summary=False, runs=special))
    words = standing(records, records.tasks[0])
    assert words.startswith("t: 2 of 6 runs ended; lowest mean validation loss so far: 'sgd' with 0.30")
    assert words.endswith("No interval was computed, so this separates nothing.")
