import math

import numpy as np
import plotly.graph_objects as go
from hypothesis import given
from hypothesis import strategies as st

from steepest.report.data import Strategy
from steepest.report.figures.base import Figure, frame, handle, log_ticks, plain, scales, short


@given(st.floats(1e-12, 1e12), st.floats(1.0, 1e15))
def test_log_ticks_are_few_ordered_and_around_the_values(low: float, span: float) -> None:
    ticks = log_ticks(low, low * span)
    values = ticks["tickvals"]
    assert 1 <= len(values) == len(ticks["ticktext"]) <= 20 and values == sorted(set(values))
    assert all(low / 2.6 <= value <= low * span * 2.6 for value in values)
    go.layout.YAxis(type="log", **ticks)


def test_markup_of_plotly_is_shown_not_obeyed() -> None:
    assert plain("<b>x</b> & y") == "&lt;b&gt;x&lt;/b&gt; &amp; y"
    assert handle(Strategy(27, "<a href='x'>" + "y" * 40, ""), 20) == "AB  &lt;a href='x'&gt;yyyyyyy…"
    assert short("abcdef", 4) == "abc…" and short("abcd", 4) == "abcd"


def test_log_is_offered_where_nothing_is_negative() -> None:
    assert scales([np.array([1.0, 9.0])]) == ("log", "linear") and scales([np.array([1.0, 7.0])]) == ("linear", "log")
    assert (
        scales([np.array([0.0, 1.0, 9.0])]) == ("log", "linear")
        and scales([np.array([1.0, 9.0])], "linear")[0] == "linear"
    )
    assert scales([np.array([-1.0, 9.0])]) == ("linear",) == scales([]) == scales([np.zeros(3)])


def test_the_frame_follows_the_band_and_not_what_left_it() -> None:
    ranges, ceiling = frame([np.array([1.0, 3.0])], [np.array([2.0, 1e9, np.nan])])
    assert ceiling == 6 and ranges["linear"][1] == 6 and math.isclose(ranges["log"][1], math.log10(6))
    assert frame([np.array([1.0, 3.0])], [np.array([2.0, 5.0])]) == ({}, None) == frame([np.array([1.0])], [])
    assert frame([], [np.array([2.0, 1e9])])[1] == 20
    assert frame([np.array([0.0, 0.1, 3.0])], [np.array([1e9])])[0]["log"][0] == math.log10(0.1) - 0.05


def test_a_figure_knows_its_axis_under_both_types() -> None:
    made = Figure("t", "", "alt", [{"y": [0.1, 10.0]}], scales=("log", "linear"), ranges={"linear": [0, 5]})
    spec = made.spec()
    assert spec["layout"]["yaxis"] is spec["axes"]["log"] and spec["axes"]["linear"] == {
        "type": "linear",
        "range": [0, 5],
    }
    assert spec["axes"]["log"]["ticktext"][0] == "0.1" and "range" not in spec["axes"]["log"]
