from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steepest.schedules import Rex


@given(total=st.integers(1, 500))
def test_is_the_formula_and_no_step_is_wasted(total: int) -> None:
    values = Rex().values(total)
    p = [t / total for t in range(total)]
    assert values == pytest.approx([(1 - q) / (0.5 + 0.5 * (1 - q)) for q in p], rel=1e-12)  # the paper's spelling
    assert values[0] == 1.0
    assert values[-1] > 0
    assert all(a > b for a, b in pairwise(values))


def test_lies_above_the_straight_line_and_stays_at_its_end() -> None:
    values = Rex(100, end=0.1).values(150)
    assert all(v >= 0.1 + 0.9 * (1 - t / 100) for t, v in enumerate(values[:100]))
    assert values[100:] == pytest.approx([0.1] * 50)
