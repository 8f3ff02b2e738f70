from __future__ import annotations

from pathlib import Path

import pytest

from steepest.cli.plot_schedule import tracks


def test_several_schedules_on_one_page_and_in_the_terminal(steepest, tmp_path: Path) -> None:
    done = steepest("plot-schedule", "cosine", "warmup_cosine(warmup=0.1)", "--steps", "200", "--out", "sub/plot.html")
    assert done.exit_code == 0, done.output
    assert "plot: sub/plot.html" in done.output and "starts at 1, ends at" in done.output
    page = (tmp_path / "sub/plot.html").read_text()
    assert "warmup_cosine(warmup=0.1)" in page and "cosine" in page


def test_a_strategy_is_drawn_from_its_own_base(steepest) -> None:
    done = steepest("plot-schedule", "sgd(lr=0.2) | cosine", "adamw(lr=0.1) | constant", "--steps", "10")
    assert "starts at 0.2" in done.output and "starts at 0.1" in done.output


def test_without_a_rule_everything_is_a_factor(steepest) -> None:
    done = steepest("plot-schedule", "sgd(lr=0.2) | cosine", "linear", "--steps", "10")
    assert done.output.count("starts at 1,") == 2


def test_schedules_on_one_hyperparameter_are_multiplied() -> None:
    (one,) = tracks("sgd(lr=0.1) | step(every=2, gamma=0.5) | step(every=3, gamma=0.1)")
    assert [one[1].function(10)(t) for t in range(4)] == pytest.approx([1, 1, 0.5, 0.05])


def test_each_hyperparameter_has_its_own_line() -> None:
    found = dict(tracks("sgd(lr=0.1, momentum=0.9) | cosine | linear(on='momentum')"))
    assert {track.on: track.base for track in found.values()} == {"lr": 0.1, "momentum": 0.9}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cosin", "Did you mean 'cosine'?"),
        ("clip_norm(1)", "holds no schedule"),
        ("cosine(minimum=-1)", "cosine"),
        ("sgd(lr=0.1) | cosine(on='momentun')", "Did you mean 'momentum'?"),
        ("step(every='3 epochs')", "Say it with --epoch"),
    ],
)
def test_bad_schedules_are_refused(steepest, text: str, said: str, tmp_path: Path) -> None:
    done = steepest("plot-schedule", text)
    assert done.exit_code == 2 and said in done.output, done.output
    assert list(tmp_path.iterdir()) == []


def test_schedules_that_count_epochs_ask_for_the_option(steepest) -> None:
    done = steepest("plot-schedule", "step(every=2, by='epoch')", "--steps", "40")
    assert done.exit_code == 2 and "Say it with --epoch, e.g. --epoch 100." in done.output
    assert steepest("plot-schedule", "step(every=2, by='epoch')", "--steps", "40", "--epoch", "10").exit_code == 0


def test_a_schedule_that_depends_on_the_loss_says_so(steepest) -> None:
    done = steepest("plot-schedule", "adamw | plateau()", "--steps", "10")
    assert done.exit_code == 0 and "plateau() acts on what a run's evaluations show" in done.output
    assert "evaluations" not in steepest("plot-schedule", "adamw | cosine", "--steps", "10").output


def test_a_schedule_of_one_piece_has_that_pieces_base() -> None:
    found = dict(tracks("adamw | sam(rho=0.3) | linear(on='sam.rho')"))
    assert [track.base for track in found.values()] == [0.3]
