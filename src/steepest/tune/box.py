"""What is searched: named dimensions, some of them only where another one has a certain value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from steepest.core.errors import unknown
from steepest.strategy.dimension import Choice, Dimension, Range, SpaceError
from steepest.strategy.space import Point, Space


@dataclass(frozen=True)
class When:
    """A dimension that is there only for some values of others; made by :func:`when`."""

    dimension: Dimension
    needs: Mapping[str, tuple[Any, ...]]


def when(dimension: Any, **needs: Any) -> When:
    """A dimension that is searched only where other dimensions have these values (one, or a tuple of several).

    >>> from steepest.strategy.dimension import choice, log
    >>> box = Box.of({"kernel": choice("rbf", "linear"), "gamma": when(log(1e-3, 1), kernel="rbf")})
    >>> box.point({"kernel": 0.1, "gamma": 0.5}), box.point({"kernel": 0.9, "gamma": 0.5})
    ({'kernel': 'rbf', 'gamma': 0.03162}, {'kernel': 'linear'})
    """
    return When(_dimension("when", dimension), {k: v if isinstance(v, tuple) else (v,) for k, v in needs.items()})


@dataclass(frozen=True)
class Box:
    """Dimensions by name. A point has a value for every one that is active there.

    >>> from steepest.strategy.dimension import log
    >>> box = Box.of({"lr": log(1e-4, 1e-2), "momentum": (0.0, 0.9)})
    >>> box.point({"lr": 0.5, "momentum": 1.0})
    {'lr': 0.001, 'momentum': 0.9}
    >>> print(box)
    lr=log(0.0001, 0.01), momentum=(0.0, 0.9)
    """

    dimensions: Mapping[str, Dimension]
    needs: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    """By name, which values of which earlier dimensions make a dimension active; not there: always active."""

    @classmethod
    def of(cls, source: Box | Space | Mapping[str, Any]) -> Box:
        """From a space of strategies, or from ``{name: range}`` for anything else; a pair is an even range."""
        if isinstance(source, Box):
            return source
        if isinstance(source, Space):
            return cls(source.dimensions)
        if not isinstance(source, Mapping) or not source:
            raise SpaceError(f"what is searched is a space, or {{name: range}} with at least one; got {source!r}.")
        dimensions: dict[str, Dimension] = {}
        needs: dict[str, Mapping[str, tuple[Any, ...]]] = {}
        for name, given in source.items():
            if isinstance(given, When):
                _check(name, given, dimensions)
                needs[name], given = given.needs, given.dimension
            dimensions[name] = _dimension(name, given)
        return cls(dimensions, needs)

    def active(self, point: Mapping[str, Any]) -> Iterator[str]:
        """The dimensions that are there at a point, in order; ``point`` needs the values of those before each."""
        there: set[str] = set()
        for name in self.dimensions:
            if all(parent in there and point[parent] in values for parent, values in self.needs.get(name, {}).items()):
                there.add(name)
                yield name

    def point(self, places: Mapping[str, float]) -> Point:
        """The point at a place in [0, 1] of every dimension."""
        made: Point = {}
        for name in self.active(made):
            made[name] = self.dimensions[name].at(places[name])
        return made

    def places(self, point: Mapping[str, Any]) -> dict[str, float]:
        """Where a point lies in [0, 1] of every dimension; in the middle of those that are not active there."""
        there = {name: self.dimensions[name].place(point[name]) for name in self.active(point)}
        return {name: there.get(name, 0.5) for name in self.dimensions}

    def complete(self, point: Mapping[str, Any]) -> Point:
        """The point in order; an error where a value is missing, unknown or out of range."""
        for name in point:
            if name not in self.dimensions:
                raise unknown("dimension", name, self.dimensions)
        made: Point = {}
        for name in self.active(made):
            if name not in point:
                raise SpaceError(f"the point has no value for {name!r}, which is searched in {self.dimensions[name]}.")
            if not self.dimensions[name].holds(point[name]):
                raise SpaceError(f"{name}={point[name]!r} is outside of {self.dimensions[name]}.")
            made[name] = point[name]
        return made

    def longer(self, ends: Mapping[str, tuple[float, float]]) -> Box:
        """The box with ranges that reach at least so far.

        >>> print(Box.of({"x": (0.0, 1.0), "y": (0.0, 1.0)}).longer({"x": (-1.0, 0.5)}))
        x=(-1.0, 1.0), y=(0.0, 1.0)
        """
        made = dict(self.dimensions)
        for name, (low, high) in ends.items():
            old = made[name]
            if isinstance(old, Range):
                made[name] = replace(old, low=min(low, old.low), high=max(high, old.high))
        return Box(made, self.needs)

    @property
    def numeric(self) -> bool:
        """Whether every dimension is a range of numbers that is always there."""
        return not self.needs and all(isinstance(d, Range) for d in self.dimensions.values())

    def __len__(self) -> int:
        return len(self.dimensions)

    def __str__(self) -> str:
        return ", ".join(f"{name}={self._written(name)}" for name in self.dimensions)

    def _written(self, name: str) -> str:
        if name not in self.needs:
            return str(self.dimensions[name])
        of = ", ".join(f"{k}={v[0]!r}" if len(v) == 1 else f"{k}={v!r}" for k, v in self.needs[name].items())
        return f"when({self.dimensions[name]}, {of})"


def _dimension(name: str, given: Any) -> Dimension:
    if isinstance(given, (Range, Choice)):
        return given
    if isinstance(given, (tuple, list)) and len(given) == 2 and all(isinstance(e, (int, float)) for e in given):
        low, high = given
        whole = all(isinstance(e, int) and not isinstance(e, bool) for e in given)
        return Range(low, high, whole=whole)
    raise SpaceError(f"{name} is searched in log(a, b), near_one(a, b), choice(...) or a pair (a, b); got {given!r}.")


def _check(name: str, given: When, earlier: Mapping[str, Dimension]) -> None:
    for parent, values in given.needs.items():
        if parent not in earlier:
            raise SpaceError(f"{name!r} needs a value of {parent!r}, which has to stand before it.")
        for value in values:
            if not earlier[parent].holds(value):
                raise SpaceError(f"{name!r} needs {parent}={value!r}, which is outside of {earlier[parent]}.")
