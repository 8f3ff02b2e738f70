from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from steepest.report.braille import BLANK, braille


def dots(lines: list[str]) -> set[tuple[int, int]]:
    """Columns and rows (from the top) of the dots that are set."""
    bits = {0: (0, 0), 1: (0, 1), 2: (0, 2), 3: (1, 0), 4: (1, 1), 5: (1, 2), 6: (0, 3), 7: (1, 3)}
    return {
        (2 * x + bits[bit][0], 4 * y + bits[bit][1])
        for y, line in enumerate(lines)
        for x, character in enumerate(line)
        for bit in bits
        if (ord(character) - BLANK) >> bit & 1
    }


@given(
    values=st.lists(st.floats(0, 1), min_size=1, max_size=300),
    width=st.integers(1, 80),
    height=st.integers(1, 10),
)
def test_every_column_has_a_dot_and_the_curve_is_unbroken(values: list[float], width: int, height: int) -> None:
    lines = braille(values, 0.0, 1.0, width, height)
    assert [len(line) for line in lines] == [width] * height
    columns = [{y for x, y in dots(lines) if x == column} for column in range(2 * width)]
    assert all(columns)
    for before, after in pairwise(columns):
        assert min(abs(a - b) for a in before for b in after) <= 1


def test_a_flat_line_lies_where_its_value_is() -> None:
    assert {y for _, y in dots(braille([1.0] * 9, 0.0, 1.0, 5, 2))} == {0}
    assert {y for _, y in dots(braille([0.0] * 9, 0.0, 1.0, 5, 2))} == {7}
    assert {y for _, y in dots(braille([3.0] * 9, 3.0, 3.0, 5, 2))} == {0}


def test_a_jump_is_an_upright_line() -> None:
    columns = dots(braille([1.0] * 4 + [0.0] * 4, 0.0, 1.0, 4, 2))
    assert {y for x, y in columns if x == 4} == set(range(1, 8))
    assert {y for x, y in columns if x == 3} == {0}
