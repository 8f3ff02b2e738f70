from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steepest.schedules import Clock, InverseSqrt, WarmupInverseSqrt
from steepest.schedules.inverse_sqrt import Noam

Steps = st.integers(0, 100_000)


@given(t=Steps, w=st.integers(1, 10_000), d=st.integers(1, 4096))
def test_noam_is_the_formula_of_the_paper_with_steps_from_one(t: int, w: int, d: int) -> None:
    n = t + 1
    expected = d**-0.5 * min(n**-0.5, n * w**-1.5)
    assert Noam(w, d).factor(t, Clock()) == pytest.approx(expected, rel=1e-12)


def test_noam_is_safe_at_the_first_step_where_the_formula_is_not() -> None:
    with pytest.raises(ZeroDivisionError):
        0**-0.5
    assert Noam(4000, 512).factor(0, Clock()) == pytest.approx(512**-0.5 * 4000**-1.5)


@given(t=Steps, w=st.integers(1, 10_000))
def test_with_the_peak_at_the_base_it_is_noam_rescaled(t: int, w: int) -> None:
    noam, peaked = Noam(w).factor(t, Clock()), WarmupInverseSqrt(w).factor(t, Clock())
    assert peaked == pytest.approx(noam * w**0.5, rel=1e-12)


@given(t=Steps)
def test_without_warmup_it_is_noam(t: int) -> None:
    plain = InverseSqrt().factor(t, Clock())
    assert plain == pytest.approx(Noam(0).factor(t, Clock()), rel=1e-12)
    assert plain == WarmupInverseSqrt(0).factor(t, Clock())
    assert plain == pytest.approx((t + 1) ** -0.5, rel=1e-12)


@given(w=st.integers(1, 500))
def test_the_peak_is_the_last_step_of_the_warmup(w: int) -> None:
    values = WarmupInverseSqrt(w).values(2 * w + 5)
    assert values[w - 1] == max(values) == 1.0
    assert all(a > b for a, b in pairwise(values[w - 1 :]))


def test_scale() -> None:
    assert Noam(10, 4, scale=2.0).values(5) == pytest.approx([2 * f for f in Noam(10, 4).values(5)])
