"""``steepest tune`` as it is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_it_answers_with_a_strategy_to_paste_and_goes_on_from_the_folder(
    steepest: Callable[..., Any], tmp_path: Path
) -> None:
    words = ["tune", "rosenbrock", "-s", "adam(lr=log(1e-3, 1))", "--steps", "80", "--sampler", "sobol", "--jobs", "1"]
    done = steepest(*words, "--budget", "8", "--out", "out")
    assert done.exit_code == 0, done.output
    assert "to paste: adam(" in done.output and "report: out/report.html" in done.output
    assert "next:   steepest train rosenbrock -s" in done.output and "--steps 80" in done.output
    assert "steepest tune --resume out --budget '16 runs'" in done.output
    again = steepest("tune", "--resume", "out", "--budget", "10")
    assert again.exit_code == 0 and "to paste: adam(" in again.output
    assert steepest("tune", "--resume", "out", "--worker").exit_code == 0


def test_errors_say_what_to_do(steepest: Callable[..., Any], tmp_path: Path) -> None:
    done = steepest("tune")
    assert done.exit_code == 2 and "say which task" in done.output
    done = steepest("tune", "rosenbrock", "--resume", "out")
    assert done.exit_code == 2 and "takes everything but budget" in done.output
    done = steepest("tune", "--resume", "nowhere")
    assert done.exit_code == 2 and "nowhere" in done.output
    done = steepest("tune", "rosenbrock", "-s", "adam", "--budget", "2", "--out", "out")
    assert done.exit_code == 2 and "the smallest is 3 runs" in done.output
    assert not (tmp_path / "out/tune.json").exists()
    done = steepest("tune", "rosenbrock", "--sampler", "gpp", "--out", "out")
    assert done.exit_code == 2 and "gp" in done.output


def test_a_population_and_its_proof(steepest: Callable[..., Any], tmp_path: Path) -> None:
    words = [
        "tune",
        "quadratic(noise=0.5)",
        "-s",
        "sgd(lr=log(1e-3, 1)) | cosine",
        "--population",
        "4",
        "--steps",
        "40",
    ]
    done = steepest(*words, "--jobs", "1", "--out", "out")
    assert done.exit_code == 0, done.output
    assert "step 40: best" in done.output and "the search cost 4 whole runs" in done.output
    assert "sgd, by a population" in done.output and "to paste: sgd(" in done.output
    assert (tmp_path / "out/final/report.html").exists()
    again = steepest("tune", "--resume", "out")
    assert again.exit_code == 0 and "to paste: sgd(" in again.output and "step 40: best" not in again.output
    assert steepest(*words, "--seed", "1", "--out", "out").exit_code == 2
    assert steepest("tune", "--resume", "out", "--budget", "9").exit_code == 2


@pytest.mark.slow
def test_by_gradient_and_its_proof(steepest: Callable[..., Any], tmp_path: Path) -> None:
    words = ["tune", "quadratic", "-s", "sgd(lr=1e-3) | cosine", "--by-gradient", "--rounds", "4", "--steps", "30"]
    done = steepest(*words, "--jobs", "1", "--out", "out")
    assert done.exit_code == 0, done.output
    assert "searching sgd(lr=log(" in done.output and "round 4: loss" in done.output
    assert "sgd, by gradient" in done.output and "to paste: sgd(" in done.output


def test_two_objectives(steepest: Callable[..., Any], tmp_path: Path) -> None:
    words = ["tune", "quadratic", "-s", "sgd(lr=log(1e-3, 1))", "--against", "steps", "--steps", "160", "--budget", "4"]
    done = steepest(*words, "--jobs", "1", "--out", "out")
    assert done.exit_code == 0, done.output
    assert "cannot be beaten in both" in done.output and "steps  loss (other seeds)" in done.output
    assert "Validation loss against steps" in (tmp_path / "out/report.html").read_text()


def test_ways_that_do_not_go_together(steepest: Callable[..., Any]) -> None:
    for words, said in [
        (["--population", "8", "--budget", "9"], "its members are the budget"),
        (["--population", "8", "--by-gradient"], "give one of them"),
        (["--population", "8", "-s", "adamw", "-s", "sgd"], "one strategy"),
        (["--population", "8", "-s", "sgd(lr=log(1e-3, 1), momentum=(0, 0.9))", "--out", "x"], "above 0"),
        (["--by-gradient", "-s", "sgd(lr=choice(0.1, 1))", "--out", "y"], "no slope"),
        (["--against", "step"], "Did you mean 'steps'"),
        (["--climb", "on"], "climb rungs"),
        (["--together", "stack"], "Did you mean 'stacked'"),
    ]:
        done = steepest("tune", "quadratic", *words)
        assert done.exit_code == 2 and said in done.output, (words, done.output)
