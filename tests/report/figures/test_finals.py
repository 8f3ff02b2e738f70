import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steepest.report.data import load
from steepest.report.figures.finals import differences_figure, finals_figure
from steepest.report.figures.stretch import Stretch, stretch_for
from steepest.report.ranking import final_values


def test_a_dot_a_seed_and_a_bar_at_the_mean(rough: Path) -> None:
    records = load(rough)
    task = records.tasks[0]
    figure = finals_figure(records, task)
    assert figure is not None
    dots, bar = figure.data[:2]
    values = final_values(records, task, records.strategies[1])
    assert dots["x"] == list(values.values()) and np.isclose(bar["x"][0], np.mean(dots["x"]))
    assert dots["text"][3].startswith("seed 3: 0.2") and "Without a value: A sgd: 1 diverged." in figure.caption
    assert figure.y["ticktext"] == ["B  adamw", "C  transformer", "A  sgd"]


def test_differences_pair_the_seeds(rough: Path) -> None:
    records = load(rough)
    task = records.tasks[0]
    figure = differences_figure(records, task)
    assert figure is not None
    best, third = (final_values(records, task, records.strategies[i]) for i in (1, 0))
    dots = [trace for trace in figure.data if trace["legendgroup"] == "s0"]
    assert set(third) == {0, 1, 3, 4}
    assert dots[0]["x"] == [third[seed] - best[seed] for seed in third]
    low, high = dots[2]["x"]
    assert low < float(np.mean(dots[0]["x"])) < high and "(5 pairs)" in figure.caption


def test_a_strategy_that_is_far_off_does_not_squash_the_rest(experiment: Callable[..., Path], tmp_path: Path) -> None:
    special = {("t", "sgd", seed): {"final": 50.0} for seed in range(3)}
    records = load(experiment(tmp_path, tasks=("t",), seeds=3, runs=special))
    finals, differences = finals_figure(records, records.tasks[0]), differences_figure(records, records.tasks[0])
    assert finals is not None and differences is not None
    assert finals.x["type"] == "log" and "Logarithmic" in finals.caption
    reach = {
        group: max(abs(x) for t in differences.data if t["legendgroup"] == group for x in t["x"])
        for group in ("s2", "s0")
    }
    near, far = reach["s2"], reach["s0"]
    assert 0 < near < far < 10 * near and "logarithmic beyond" in differences.caption


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(1e-6, 1e3))
def test_the_stretched_axis_keeps_order_and_sign(a: float, b: float, unit: float) -> None:
    place = Stretch(unit).place
    assert (place(a) <= place(b)) == (a <= b) or math.isclose(a, b)
    assert place(-a) == -place(a) and place(0.0) == 0.0


@given(st.floats(1e-5, 1e2), st.floats(1.0, 1e6))
def test_ticks_lie_inside_and_hold_zero(unit: float, reach: float) -> None:
    axis = Stretch(unit).axis(-reach * unit, reach * unit)
    assert 0.0 in axis["tickvals"] and len(axis["tickvals"]) == len(axis["ticktext"]) <= 13
    assert all(abs(tick) <= math.asinh(reach) + 1e-9 for tick in axis["tickvals"])
    assert axis["tickvals"] == sorted(axis["tickvals"])


def test_a_plain_axis_where_it_does() -> None:
    assert stretch_for([0.0, 0.1, 1.0]) is None and stretch_for([]) is None and stretch_for([0.02, 1.0]) is not None
