from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steepest.report.data import Records, load
from steepest.report.figures.base import Figure
from steepest.report.figures.gradient import after, clipped, gradient_figures, share_over_time
from steepest.report.figures.learning import loss_figures, metric_figures
from steepest.report.figures.over_steps import over_steps
from steepest.report.figures.rate import rate_figures


@pytest.fixture
def records(rough: Path) -> Records:
    return load(rough)


def lines(figure: Figure, group: str) -> list[dict[str, Any]]:
    return [trace for trace in figure.data if trace["legendgroup"] == group]


def test_the_line_is_the_mean_and_the_shade_the_range_of_the_seeds(records: Records) -> None:
    task, strategy = records.tasks[0], records.strategies[1]
    _, validation = loss_figures(records, task, 400)
    low, high, mean = (np.array(trace["y"]) for trace in lines(validation, "s1"))
    curves = np.stack([run.curve("loss", "validation").values for run in records.of(task, strategy)])
    for shown, true in ((low, curves.min(0)), (high, curves.max(0)), (mean, curves.mean(0))):
        np.testing.assert_allclose(shown, true, rtol=1e-4)


def test_a_diverged_run_stays_out_of_the_mean_and_in_sight(records: Records) -> None:
    task = records.tasks[0]
    _, validation = loss_figures(records, task, 400)
    _, high, _, lone, mark = lines(validation, "s0")
    assert max(v for v in high["y"] if v) < 3 < 1e4 < max(lone["y"])
    assert mark["marker"]["symbol"] == "x" and "diverged at step 120" in mark["name"]
    ceiling = validation.ranges["linear"][1]
    assert mark["y"] == [ceiling] and np.isclose(10 ** validation.ranges["log"][1], ceiling)
    finite = [v for v in high["y"] if v is not None]
    assert ceiling >= max(finite) and "Cut at" in validation.caption


def test_loss_begins_logarithmic_and_metrics_linear(records: Records) -> None:
    task = records.tasks[0]
    train, validation = loss_figures(records, task, 400)
    (accuracy,) = metric_figures(records, task, 400)
    assert train.scales == ("log", "linear") == validation.scales and accuracy.scales == ("linear", "log")
    assert "Centred mean over 7 records" in train.caption and "7" not in validation.caption


def test_no_figure_for_what_nobody_recorded(records: Records) -> None:
    assert over_steps(records, records.tasks[0], lambda run: run.curve("momentum"), title="m", y="m") is None


def test_only_schedules_that_move_are_drawn(single: Callable[..., Any], tmp_path: Path) -> None:
    single(tmp_path, "t", "a", "a()", 0, steps=20)
    path = tmp_path / "metrics.jsonl"
    text = path.read_text().replace(
        '"kind": "train", "step": 7,', '"kind": "train", "momentum": 0.9, "beta": 1, "step": 7,'
    )
    path.write_text(
        text.replace('"kind": "train", "step": 8,', '"kind": "train", "momentum": 0.8, "beta": 1, "step": 8,')
    )
    records = load(tmp_path)
    assert [figure.title for figure in rate_figures(records, records.tasks[0], 400)] == ["Learning rate", "Momentum"]


def test_the_norm_after_clipping_is_never_above_the_threshold(records: Records) -> None:
    task = records.tasks[0]
    for run in records.of(task, records.strategies[1]):
        assert after(run).values.max() <= 1 + 1e-6
        assert clipped(run).mean() == (run.train["grad_norm"] > 1).mean()
    titles = [figure.title for figure in gradient_figures(records, task, 400)]
    assert titles == ["Gradient norm before clipping", "Gradient norm after clipping", "Share of steps clipped"]


def test_the_share_of_clipped_steps_is_that_of_a_whole_window_even_at_the_ends(records: Records) -> None:
    run = records.of(records.tasks[0], records.strategies[1])[0]
    share, acted = share_over_time(run).values, clipped(run)
    assert share[0] == share[15] == acted[:31].mean() and share[-1] == acted[-31:].mean()


def test_the_learning_rate_of_a_diverged_run_is_not_cut(experiment: Callable[..., Path], tmp_path: Path) -> None:
    folder = experiment(tmp_path, tasks=("t",), seeds=1, runs={("t", "sgd", 0): {"status": "diverged", "stop": 90}})
    path = next(folder.glob("runs/t/sgd-*/seed-0/metrics.jsonl"))
    path.write_text(path.read_text().replace('"lr": 0.00', '"lr": 50.00'))
    records = load(folder)
    (rate,) = rate_figures(records, records.tasks[0], 400)
    assert not rate.ranges and rate.scales[0] == "log" and max(rate.data[0]["y"]) > 50


def test_a_negative_value_keeps_the_axis_linear(single: Callable[..., Any], tmp_path: Path) -> None:
    single(tmp_path, "t", "a", "a()", 0, steps=20)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind":"eval","split":"validation","step":21,"loss":-0.5}\n')
    records = load(tmp_path)
    assert loss_figures(records, records.tasks[0], 400)[1].scales == ("linear",)


def test_no_line_has_more_points_than_asked_for(records: Records) -> None:
    for figure in [*loss_figures(records, records.tasks[0], 40), *gradient_figures(records, records.tasks[0], 40)]:
        assert max(len(trace["y"]) for trace in figure.data) <= 40
