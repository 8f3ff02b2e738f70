"""A search space: a strategy in which some values are ranges or choices.

.. code-block:: text

    adamw(lr=log(1e-5, 1e-1), betas=(0.9, choice(0.95, 0.99)), eps=log(1e-8, 1e-4)) | cosine | clip_norm(log(0.1, 10))

The text form is that of strategies, with four more words for a value: ``log(a, b)``, ``near_one(a, b)``,
``choice(a, b, ...)``, and a pair ``(a, b)`` where one number is taken: even between the two. Whole ends where whole
numbers are taken make a range of whole numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy

from steepest.core.errors import SteepestError
from steepest.core.piece import Piece
from steepest.strategy.dimension import Choice, Dimension, End, Range, SpaceError
from steepest.strategy.places import Key, check_ends, even, keys, middle, paths, put, resolved, typed, written
from steepest.strategy.space_text import SpaceReader
from steepest.strategy.value import Strategy

Point = dict[str, Any]
NEAR = 0.1
"""A point this near to an end of a range, as a share of its length, says that the range may be too short."""


@dataclass(frozen=True)
class Space:
    """A strategy with ranges in it; compared and printed by value, and ``space(str(s)) == s``.

    >>> s = space("adamw(lr=log(1e-5, 1e-1), betas=(0.9, choice(0.95, 0.99))) | clip_norm(log(0.1, 10))")
    >>> for path, dimension in s.dimensions.items():
    ...     print(path, dimension)
    adamw.lr log(1e-05, 0.1)
    adamw.beta2 choice(0.95, 0.99)
    clip_norm.max_norm log(0.1, 10.0)
    >>> s.at({"lr": 1e-2, "beta2": 0.99, "max_norm": 0.12})
    adamw(lr=0.01, betas=(0.9, 0.99)) | clip_norm(max_norm=0.12)
    >>> s.near_edges({"lr": 1e-2, "beta2": 0.99, "max_norm": 0.12})
    [('clip_norm.max_norm', 'low')]
    >>> s.extended("max_norm", "low")
    adamw(lr=log(1e-05, 0.1), betas=(0.9, choice(0.95, 0.99))) | clip_norm(max_norm=log(0.022, 10.0))
    """

    pieces: tuple[Piece, ...]
    """The pieces as written, with the middle of each range in its place."""
    open: tuple[tuple[int, Key, Dimension], ...] = field(default=())
    """Which values are searched: the piece's place, the way to the value in it, and its dimension."""

    def __post_init__(self) -> None:
        pieces = list(self.pieces)
        for place, key, dimension in self.open:
            check_ends(pieces[place], key, dimension)
            pieces[place] = put(pieces[place], key, middle(dimension))
        order = [(i, key) for i, p in enumerate(pieces) for key in ((), *(key for key, _, _ in keys(p)))]
        object.__setattr__(self, "pieces", tuple(pieces))
        object.__setattr__(self, "open", tuple(sorted(self.open, key=lambda entry: order.index(entry[:2]))))

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """What is searched, by path, in written order."""
        return dict(zip(self._paths(), (d for _, _, d in self.open), strict=True))

    @property
    def base(self) -> Strategy:
        """A strategy of the space: every range at its middle, every choice at its first value."""
        return Strategy(*self.pieces)

    def _paths(self) -> list[str]:
        return paths(self.pieces, [entry[:2] for entry in self.open])

    def path(self, name: str) -> str:
        """The whole path that a name means: itself, or its last words where these are enough (``"lr"``)."""
        return resolved(name, self._paths())

    def complete(self, point: Mapping[str, Any]) -> Point:
        """The point with whole paths, in order; an error where a value is missing, unknown or out of range."""
        given = {self.path(name): value for name, value in point.items()}
        for path, dimension in self.dimensions.items():
            if path not in given:
                raise SpaceError(f"the point has no value for {path!r}, which is searched in {dimension}.")
            if not dimension.holds(given[path]):
                raise SpaceError(f"{path}={given[path]!r} is outside of {dimension}.")
        return {path: given[path] for path in self.dimensions}

    def at(self, point: Mapping[str, Any]) -> Strategy:
        """The strategy at a point."""
        values = self.complete(point)
        pieces = list(self.pieces)
        for (place, key, _), value in zip(self.open, values.values(), strict=True):
            pieces[place] = put(pieces[place], key, value)
        return Strategy(*pieces)

    def point(self, places: Mapping[str, float]) -> Point:
        """The point at a place in [0, 1] of every dimension."""
        return {path: dimension.at(places[path]) for path, dimension in self.dimensions.items()}

    def places(self, point: Mapping[str, Any]) -> dict[str, float]:
        """Where a point lies in every dimension: from 0 to 1."""
        values = self.complete(point)
        return {path: dimension.place(values[path]) for path, dimension in self.dimensions.items()}

    def sample(
        self, n: int, seed: int | Iterable[int] = 0, within: Mapping[str, tuple[float, float]] | None = None
    ) -> list[Point]:
        """Points that cover every dimension evenly: of ``n`` points one lies in each ``n``-th of a range.

        A Latin hypercube (McKay, Beckman & Conover 1979). Each dimension draws from a generator of its own, seeded
        with ``seed`` and its path without the piece's name: two spaces that search a learning rate try the same places
        in it, whatever else they search, and the same call draws the same points in any process.

        Args:
            n: How many points.
            seed: A number, or several.
            within: By path, the part of a range (as shares of its length) that is drawn from; elsewhere all of it.
        """
        seeds = [seed] if isinstance(seed, int) else [*seed]
        parts = {self.path(name): part for name, part in (within or {}).items()}
        places = {}
        for path in self.dimensions:
            low, high = parts.get(path, (0.0, 1.0))
            places[path] = low + (high - low) * _strata(n, seeds, path.partition(".")[2])
        return [self.point({path: float(us[i]) for path, us in places.items()}) for i in range(n)]

    def edges(self, point: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        """How far a point is from the low and the high end of each range, as shares of its length."""
        where = self.places(point)
        return {path: (where[path], 1 - where[path]) for path, d in self.dimensions.items() if isinstance(d, Range)}

    def near_edges(self, point: Mapping[str, Any], share: float = NEAR) -> list[tuple[str, End]]:
        """Which ends a point is near to, where the range could go on there."""
        found: list[tuple[str, End]] = []
        for path, (low, high) in self.edges(point).items():
            end: End = "low" if low <= high else "high"
            if min(low, high) <= share and self.extended(path, end) != self:
                found.append((path, end))
        return found

    def extended(self, name: str, end: End, by: float = 1 / 3) -> Space:
        """The space with a range that goes further at one end; the space itself where no value lies beyond it.

        What lies beyond is asked of the piece: a momentum of 1 or a warm-up of less than nothing is refused there. A
        third of the length that reaches too far is tried by a half, a quarter and an eighth of it.
        """
        path = self.path(name)
        place, key, dimension = self.open[self._paths().index(path)]
        if not isinstance(dimension, Range):
            raise SpaceError(f"{path} is one of {dimension}: a choice has no end.")
        for part in (by, by / 2, by / 4, by / 8):
            try:
                longer = dimension.extended(end, part)
                check_ends(self.pieces[place], key, longer)
            except (SteepestError, ValueError, TypeError, OverflowError):
                continue
            return self.replaced({path: longer}) if longer != dimension else self
        return self

    def replaced(self, dimensions: Mapping[str, Dimension]) -> Space:
        """The space with other ranges in place of some."""
        new = {self.path(name): dimension for name, dimension in dimensions.items()}
        opened = zip(self._paths(), self.open, strict=True)
        return Space(self.pieces, tuple((place, key, new.get(path, d)) for path, (place, key, d) in opened))

    def __str__(self) -> str:
        return " | ".join(
            written(p, {key: d for place, key, d in self.open if place == i}) for i, p in enumerate(self.pieces)
        )

    __repr__ = __str__

    def __iter__(self) -> Iterator[str]:
        return iter(self.dimensions)

    def __len__(self) -> int:
        return len(self.open)


def space(source: str | Strategy | Piece | Space, dimensions: Mapping[str, Any] | None = None) -> Space:
    """A search space, from text or from a strategy and the ranges of some of its values.

    >>> from steepest.strategy.dimension import log
    >>> from steepest.strategy.front import lion
    >>> space("lion(lr=log(1e-5, 1e-3))") == space(lion(), {"lr": log(1e-5, 1e-3)})
    True
    >>> space("lion(lr=log(1e-3, 1e-5))")
    Traceback (most recent call last):
    steepest.strategy.dimension.SpaceError: lion, lr: a range goes from a smaller to a larger number;
    log(0.001, 1e-05) does not.
        lion(lr=log(1e-3, 1e-5))
                ^^^^^^^^^^^^^^^

    Args:
        source: The text form with ranges in it; or a strategy, or its text.
        dimensions: A range, a choice or a pair of numbers for a value, named by its path (``"adamw.lr"``,
            ``"rest.lr"``) or by its last words where these are enough.
    """
    if isinstance(source, str):
        source = Space(*SpaceReader(source).space())
    elif isinstance(source, Piece):
        source = Space((source,))
    elif isinstance(source, Strategy):
        source = Space(source.pieces)
    elif not isinstance(source, Space):
        raise SpaceError(f"a space is made from a strategy or its text; got {source!r}.")
    for name, given in (dimensions or {}).items():
        source = _opened(source, name, given)
    return source


def _opened(source: Space, name: str, given: Any) -> Space:
    """The space with one more value searched, or with another range for it."""
    places = [(i, key) for i, p in enumerate(source.pieces) for key, _, _ in keys(p)]
    named = paths(source.pieces, places)
    place, key = places[named.index(resolved(name, named))]
    parameter = next(p for k, _, p in keys(source.pieces[place]) if k == key)
    dimension = given if isinstance(given, (Range, Choice)) else even(given, parameter)
    kept = [entry for entry in source.open if entry[:2] != (place, key)]
    return Space(source.pieces, (*kept, (place, key, typed(dimension, parameter))))


def _strata(n: int, seeds: list[int], word: str) -> Any:
    """One place in each ``n``-th of [0, 1], in random order."""
    draw = numpy.random.default_rng([*seeds, zlib.crc32(word.encode())])
    return (draw.permutation(n) + draw.random(n)) / n
