"""Which part of the usual space a method can search that moves values while training, or along their slope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steepest.core.errors import SteepestError
from steepest.strategy.dimension import Range, SpaceError
from steepest.strategy.space import Space, space
from steepest.strategy.usual import default_space, defaults
from steepest.strategy.value import Strategy

LOWEST = 0.5
"""Where a momentum begins that may not be 0: without it a rule has another form."""


def reachable(source: Any, check: Callable[[Space], object]) -> tuple[Space, Strategy]:
    """A space as it is written; around a strategy without ranges as much of the usual one as ``check`` lets pass.

    Returns the space, and what stands for it unsearched.

    >>> from steepest.tune.course import names
    >>> print(reachable("sgd(lr=0.1, momentum=0.9) | cosine", names)[0])
    sgd(lr=log(0.001, 1.0), momentum=near_one(0.5, 0.99), weight_decay=log(3e-06, 0.03)) | cosine()
    | clip_norm(max_norm=log(0.1, 10.0))
    """
    written = space(source)
    if len(written):
        check(written)
        return written, defaults(written)
    given = Strategy(*written.pieces).check()
    usual = default_space(given)
    kept = []
    for place, key, dimension in usual.open:
        for tried in (dimension, _above(dimension)):
            if tried is not None and _passes(Space(usual.pieces, ((place, key, tried),)), check):
                kept.append((place, key, tried))
                break
    if not kept:
        raise SpaceError(f"nothing of {given} can be searched so. Write a range: sgd(lr=log(1e-3, 1)).")
    stays = [i for i in range(len(usual.pieces)) if i < len(given.pieces) or any(place == i for place, _, _ in kept)]
    pieces = [given.pieces[i] if i < len(given.pieces) else usual.pieces[i] for i in stays]
    return Space(tuple(pieces), tuple((stays.index(place), key, d) for place, key, d in kept)), given


def _above(dimension: Any) -> Range | None:
    """The same range, begun above 0."""
    if isinstance(dimension, Range) and dimension.scale == "near_one" and dimension.low == 0.0:
        return Range(LOWEST, max(dimension.high, LOWEST + 0.01), "near_one")
    return None


def _passes(one: Space, check: Callable[[Space], object]) -> bool:
    try:
        check(one)
    except SteepestError:
        return False
    return True
