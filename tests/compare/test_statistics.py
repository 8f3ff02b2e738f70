"""The interval holds the truth as often as it says, and luck alone rarely separates."""

from __future__ import annotations

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steepest.compare.statistics import ENOUGH, interval, paired

numbers = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=3, max_size=12)


def truth_inside(n: int, comparisons: int, sd: float = 1.0, truth: float = 0.0) -> float:
    draw = numpy.random.default_rng(n)
    hits = 0
    for _ in range(comparisons):
        low, high = interval(list(truth + sd * draw.standard_normal(n)))
        hits += low <= truth <= high
    return hits / comparisons


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_95_percent_of_the_intervals_hold_the_mean_of_a_gaussian(n: int) -> None:
    assert truth_inside(n, 500, sd=0.03, truth=-7.0) == pytest.approx(0.95, abs=0.03)


def test_without_the_stretch_five_seeds_would_promise_too_much() -> None:
    """The plain percentile bootstrap, for comparison: it is why the deviations are stretched."""
    draw = numpy.random.default_rng(0)
    picks = draw.integers(0, 5, size=(2000, 5))
    hits = 0
    for _ in range(500):
        means = draw.standard_normal(5)[picks].mean(axis=1)
        low, high = numpy.quantile(means, (0.025, 0.975))
        hits += low <= 0 <= high
    assert 0.78 < hits / 500 < 0.88


@pytest.mark.parametrize("n", [3, 5])
def test_two_equal_strategies_are_rarely_called_different(n: int) -> None:
    draw = numpy.random.default_rng(1)
    luck = draw.standard_normal((300, n))  # what a seed does to both
    a, b = (luck + 0.3 * draw.standard_normal((300, n)) for _ in range(2))
    separated = sum(paired(list(x), list(y)).separable is True for x, y in zip(a, b, strict=True))
    assert separated <= 0.07 * 300


def test_a_gap_of_three_sd_is_found_from_five_seeds() -> None:
    draw = numpy.random.default_rng(2)
    found = sum(
        paired(list(draw.standard_normal(5)), list(3 * math.sqrt(2) + draw.standard_normal(5))).separable is True
        for _ in range(200)
    )
    assert found > 0.95 * 200


def test_pairing_removes_what_a_seed_does_to_both() -> None:
    draw = numpy.random.default_rng(3)
    luck = 10 * draw.standard_normal(5)
    a, b = luck + 0.1 * draw.standard_normal(5), luck + 1 + 0.1 * draw.standard_normal(5)
    d = paired(list(a), list(b))
    assert d.separable and d.mean == pytest.approx(-1, abs=0.3) and d.better == 1.0


@given(numbers)
def test_the_order_of_the_seeds_does_not_matter(values: list[float]) -> None:
    assert interval(values) == interval(values[::-1])
    assert interval(values) == interval(sorted(values))


@given(numbers)
def test_the_interval_holds_the_mean_and_moves_with_the_values(values: list[float]) -> None:
    low, high = interval(values)
    mean = math.fsum(values) / len(values)
    assert low - 1e-9 <= mean <= high + 1e-9
    shifted = interval([2 * v + 5 for v in values])
    assert shifted == pytest.approx((2 * low + 5, 2 * high + 5), abs=1e-6)


@given(numbers)
def test_a_against_b_mirrors_b_against_a(values: list[float]) -> None:
    zeros = [0.0] * len(values)
    ab, ba = paired(values, zeros), paired(zeros, values)
    assert ab.mean == pytest.approx(-ba.mean) and ab.better == pytest.approx(1 - ba.better)
    assert paired(values, zeros, "max").better == pytest.approx(1 - ab.better)


def test_the_same_values_are_not_separable() -> None:
    d = paired([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert (d.mean, d.low, d.high, d.better, d.separable) == (0, 0, 0, 0.5, False)


@pytest.mark.parametrize("n", range(1, ENOUGH))
def test_few_seeds_never_separate(n: int) -> None:
    d = paired([0.0] * n, [1.0 + 0.001 * i for i in range(n)])
    assert d.separable is None and d.n == n
    assert (d.low is None) == (n == 1)
