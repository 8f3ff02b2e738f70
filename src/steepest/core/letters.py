"""The letter by which a strategy is known in every table and figure of one comparison."""

from __future__ import annotations

import string


def letter(index: int) -> str:
    """The letter of the strategy at this place: what tells strategies apart without colour and in little room.

    >>> letter(0), letter(25), letter(26)
    ('A', 'Z', 'AA')
    """
    return (letter(index // 26 - 1) if index >= 26 else "") + string.ascii_uppercase[index % 26]
