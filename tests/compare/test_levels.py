"""What is promised of luck is kept: levels, coverage, power, and a correction over many comparisons."""

from __future__ import annotations

import numpy
import pytest
from scipy import stats

from steepest.compare.statistics import holm, paired, power, quantile, seeds_needed, share, tail

LAWS = {
    "normal": lambda draw, size: draw.standard_normal(size),
    "heavy tails": lambda draw, size: draw.standard_t(3, size),
    "skew": lambda draw, size: draw.exponential(1.0, size),
    "errors of 360": lambda draw, size: draw.binomial(360, 0.03, size) / 360,
}


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("law", LAWS)
def test_two_equal_arms_are_called_different_in_at_most_5_percent(law: str, n: int) -> None:
    """400 comparisons of an arm with itself; above 33, one case in 1000 where the level is 5 %."""
    draw = numpy.random.default_rng([n, 7])
    a, b = LAWS[law](draw, (400, n)), LAWS[law](draw, (400, n))
    called = sum(paired(list(x), list(y)).separable is True for x, y in zip(a, b, strict=True))
    assert called <= 33


def test_over_all_laws_and_numbers_of_seeds_it_is_at_most_5_percent() -> None:
    called = total = 0
    for law in LAWS.values():
        for n in (3, 5, 10):
            draw = numpy.random.default_rng([n, 11])
            a, b = law(draw, (400, n)), law(draw, (400, n))
            called += sum(paired(list(x), list(y)).separable is True for x, y in zip(a, b, strict=True))
            total += 400
    assert called <= 0.05 * total


@pytest.mark.parametrize(("n", "gap"), [(3, 2.0), (5, 1.0), (5, 2.0), (10, 1.0)])
def test_a_known_gap_is_found_as_often_as_theory_says(n: int, gap: float) -> None:
    draw = numpy.random.default_rng([n, 3])
    d = gap + draw.standard_normal((1000, n))
    found = sum(paired(list(x), [0.0] * n).p <= 0.05 for x in d) / 1000  # type: ignore[operator]
    assert found == pytest.approx(power(n, gap), abs=0.045)


@pytest.mark.parametrize("n", [3, 5, 10, 40])
@pytest.mark.parametrize("gap", [0.0, 0.5, 1.0, 3.0])
def test_power_is_that_of_the_noncentral_t(n: int, gap: float) -> None:
    t = stats.t.ppf(0.975, n - 1)
    exact = stats.nct.sf(t, n - 1, gap * n**0.5) + stats.nct.cdf(-t, n - 1, gap * n**0.5)
    assert power(n, gap) == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("gap", [0.1, 0.3, 0.5, 1.0, 2.0])
def test_the_seeds_needed_are_the_fewest(gap: float) -> None:
    n = seeds_needed(gap)
    assert n is not None
    assert power(n, gap) >= 0.8
    assert n == 3 or power(n - 1, gap) < 0.8
    assert seeds_needed(0.0) is None


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 30, 101])
def test_the_t_distribution_is_exact(freedom: int) -> None:
    for t in (0.0, 0.3, 1.0, 2.5, 8.0):
        assert tail(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), abs=1e-12)
    for q in (0.6, 0.9, 0.975, 0.9995):
        assert quantile(freedom, q) == pytest.approx(stats.t.ppf(q, freedom), rel=1e-9)


def test_p_is_that_of_the_paired_t_test() -> None:
    draw = numpy.random.default_rng(0)
    a, b = draw.standard_normal(6), draw.standard_normal(6)
    assert paired(list(a), list(b)).p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert paired([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]).p == 0.0
    assert paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).p == 1.0


@pytest.mark.parametrize("n", [3, 5, 10, 30])
@pytest.mark.parametrize("truth", [0.05, 0.3, 0.5, 0.8, 1.0])
def test_the_share_of_wins_holds_the_truth_at_least_as_often_as_it_says(n: int, truth: float) -> None:
    """Exactly: summed over every number of wins."""
    inside = sum(
        stats.binom.pmf(wins, n, truth)
        for wins in range(n + 1)
        if share(wins, 0, n)[0] <= truth <= share(wins, 0, n)[1]
    )
    assert inside >= 0.95
    for wins in range(n + 1):
        exact = stats.binomtest(wins, n).proportion_ci(0.95, "exact")
        assert share(wins, 0, n) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_ties_make_the_share_of_wins_less_certain() -> None:
    assert share(2, 2, 4) == pytest.approx((share(2, 0, 4)[0], share(4, 0, 4)[1]))


def test_holm_keeps_the_level_over_all_comparisons_and_is_never_below_bonferroni() -> None:
    draw = numpy.random.default_rng(5)
    wrong = sum(min(holm(list(draw.random(6)))) <= 0.05 for _ in range(2000))
    assert wrong / 2000 == pytest.approx(0.05, abs=0.02)
    for _ in range(50):
        p = draw.random(5)
        adjusted = holm(list(p))
        assert all(x <= y <= min(1.0, 5 * x) + 1e-12 for x, y in zip(p, adjusted, strict=True))
        order = numpy.argsort(p)
        assert list(numpy.array(adjusted)[order]) == sorted(adjusted)
    assert holm([]) == []


def test_of_equal_arms_the_best_one_seen_is_rarely_called_different_from_any() -> None:
    """Holm over all pairs; over those with the best alone it would be in 10 % of families of 9."""
    arms, n, wrong, naive = 9, 5, 0, 0
    draw = numpy.random.default_rng(arms)
    for family in draw.standard_normal((300, arms, n)):
        best = family.mean(axis=1).argmin()
        pairs = [(i, j) for i in range(arms) for j in range(i)]
        p = [
            2 * stats.t.sf(abs(d.mean() / d.std(ddof=1) * n**0.5), n - 1)
            for d in (family[i] - family[j] for i, j in pairs)
        ]
        wrong += any(q <= 0.05 for q, pair in zip(holm(p), pairs, strict=True) if best in pair)
        naive += min(holm([q for q, pair in zip(p, pairs, strict=True) if best in pair])) <= 0.05
    assert wrong <= 0.05 * 300 < 0.07 * 300 < naive
