"""A curve in a terminal: eight dots a character."""

from __future__ import annotations

from collections.abc import Sequence

BLANK = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a braille character, by row from the top and by column."""


def braille(values: Sequence[float], low: float, high: float, width: int = 60, height: int = 5) -> list[str]:
    r"""A curve as lines of braille: each character is two columns wide and four dots high.

    A column shows the range of its values and reaches to the column before, so a jump is an upright line.

    Args:
        values: Finite numbers, at even distances.
        low: The value of the lowest dots.
        high: The value of the highest dots.
        width: Characters across.
        height: Lines.

    >>> print(*braille([0, 1, 2, 3, 4, 5, 6, 7], 0, 7, width=4, height=2), sep="\n")
    ⠀⠀⡠⠊
    ⡠⠊⠀⠀
    """
    columns, rows = 2 * width, 4 * height
    cells = [[0] * width for _ in range(height)]
    span = (high - low) or 1.0
    n = len(values)

    def row(value: float) -> int:
        return min(rows - 1, max(0, round((high - value) / span * (rows - 1))))

    last: int | None = None
    for x in range(columns):
        start = x * n // columns
        part = [row(v) for v in values[start : max(start + 1, (x + 1) * n // columns)]]
        top, bottom = min(part), max(part)
        if last is not None and last < top - 1:
            top = last + 1
        if last is not None and last > bottom + 1:
            bottom = last - 1
        for y in range(top, bottom + 1):
            cells[y // 4][x // 2] |= DOTS[y % 4][x % 2]
        last = part[-1]
    return ["".join(chr(BLANK | cell) for cell in line) for line in cells]
