import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from steepest.report.curves import Curve, band, rounded, smooth, thin, window

VALUES = arrays(np.float64, st.integers(1, 300), elements=st.floats(-1e6, 1e6))


@given(VALUES, st.integers(4, 60))
def test_thinning_keeps_first_last_lowest_and_highest(values: np.ndarray, points: int) -> None:
    kept = thin(values, values, points)
    assert len(kept) <= max(points, 4) and (np.diff(kept) > 0).all()
    assert kept[0] == 0 and kept[-1] == len(values) - 1
    assert values[kept].min() == values.min() and values[kept].max() == values.max()


@given(st.integers(1, 200), st.integers(1, 51), st.floats(-10, 10), st.floats(-10, 10))
def test_smoothing_keeps_straight_lines_to_both_ends(n: int, width: int, a: float, b: float) -> None:
    line = a + b * np.arange(n)
    np.testing.assert_allclose(smooth(line, width), line, atol=1e-6)


def test_smoothing_takes_the_mean_of_what_is_finite() -> None:
    out = smooth(np.array([1.0, np.nan, 3.0, 5.0, np.nan]), 3)
    np.testing.assert_allclose(out[:4], [1.0, 2.0, 4.0, 4.0])
    assert np.isnan(out[4])


def test_smoothing_removes_noise_and_does_not_lag() -> None:
    steps = np.arange(1000.0)
    noise = np.random.default_rng(0).standard_normal(1000)
    error = smooth(steps / 1000 + noise, window(1000)) - steps / 1000
    assert error[50:-50].std() < 0.4 and abs(error[50:-50].mean()) < 0.1


def test_a_band_holds_its_curves_and_counts_them() -> None:
    steps = np.arange(5.0)
    curves = [Curve(steps, steps + seed) for seed in range(3)]
    b = band(curves)
    assert b.n == 3
    np.testing.assert_allclose(b.mean, steps + 1)
    np.testing.assert_allclose(b.low, steps)
    np.testing.assert_allclose(b.high, steps + 2)


def test_a_band_ends_where_the_first_curve_ends() -> None:
    b = band([Curve(np.arange(10.0), np.ones(10)), Curve(np.arange(2.0, 6.0), np.ones(4))])
    assert (b.steps[0], b.steps[-1]) == (2, 5)


def test_a_band_of_nothing_is_empty() -> None:
    assert band([]).n == 0 == len(band([Curve(np.array([1.0]), np.array([np.nan]))]).steps)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        Curve(np.zeros(2), np.zeros(3))


def test_rounding_keeps_significant_digits() -> None:
    assert rounded(np.array([1.23456789e-7, np.inf])) == [1.2346e-07, None]
