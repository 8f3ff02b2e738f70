"""The hyperparameter that is looked for: where a strategy has it, and the same strategy with another value."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from steepest.core.errors import HyperparameterError, SteepestError, did_you_mean
from steepest.core.piece import Piece
from steepest.strategy.value import Strategy

Path = tuple[str | int, ...]


class RangeError(SteepestError, ValueError):
    """A range that cannot be looked for as it is described."""


@dataclass(frozen=True)
class Target:
    """A number in a strategy.

    ``bounded`` says that it must stay below 1 (a momentum): it is then searched on the scale of its distance from 1.
    """

    strategy: Strategy
    over: str
    piece: Piece
    path: Path
    bounded: bool

    @property
    def value(self) -> float:
        """As the strategy has it."""
        found: Any = self.piece
        for key in self.path:
            found = dict(found.arguments)[str(key)] if isinstance(found, Piece) else found[key]
        return float(found)

    @property
    def schedulable(self) -> bool:
        """Whether a schedule can move this number and no other."""
        name = self.over.rpartition(".")[2]
        return "." not in self.over and len([p for q in self.strategy for p, _ in numbers(q) if p == name]) == 1

    def at(self, value: float, *, constant: bool = False) -> Strategy:
        """The strategy with another value; ``constant`` leaves out the schedules on it."""
        name = self.over.rpartition(".")[2]
        try:
            changed = replaced(self.piece, self.path, value)
        except HyperparameterError as error:
            raise RangeError(f"{self.over}={value:g} cannot be tried: {error}") from None
        kept = [
            changed if p == self.piece else p
            for p in self.strategy
            if not (constant and p.role == "schedule" and dict(p.arguments).get("on", "lr") == name)
        ]
        return Strategy(*kept)

    def place(self, value: float) -> float:
        """The value on the scale of the search: its logarithm, or that of its distance from 1."""
        return -math.log1p(-value) if self.bounded else math.log(value)

    def back(self, place: float) -> float:
        """The inverse of :meth:`place`.

        >>> from steepest.strategy.front import sgd
        >>> t = target(sgd(lr=0.1, momentum=0.9), "momentum")
        >>> round(t.back(t.place(0.99)), 6)
        0.99
        """
        return -math.expm1(-place) if self.bounded else math.exp(place)


def target(strategy: Strategy, over: str) -> Target:
    """Find a hyperparameter by name (``lr``, ``beta2``, ``max_norm``); in a partition by its route, ``matrix.lr``."""
    pieces = (*strategy.role("rule"), *strategy.role("gradient"), *strategy.role("wrapper"))
    known = [(name, p, path) for p in pieces for name, path in numbers(p)]
    found = [(p, path) for name, p, path in known if name == over]
    if not found:  # a name without its route, where only one route has it
        found = [(p, path) for name, p, path in known if name.rpartition(".")[2] == over]
        if len(found) > 1:
            names = [name for name, _, _ in known if name.rpartition(".")[2] == over]
            raise RangeError(f"{strategy} has several {over!r}. Say which: {' or '.join(names)}.")
    if not found:
        names = list(dict.fromkeys(name for name, _, _ in known))
        raise RangeError(f"no piece of {strategy} has a number {over!r}. {did_you_mean(over, names)}")
    piece, path = found[0]
    goal = Target(strategy, over, piece, path, _accepts(piece, path, 0.5) and not _accepts(piece, path, 1.0))
    if _accepts(piece, path, goal.value + 1) and not _accepts(piece, path, goal.value + 0.5):
        raise RangeError(
            f"{over!r} of {piece} is a count, of which there is none between {goal.value:g} and {goal.value + 1:g}; "
            "lr-find halves intervals. Hold a few counts against each other instead with steepest compare."
        )
    return goal


def numbers(piece: Piece) -> Iterator[tuple[str, Path]]:
    """The numbers among a piece's arguments, each with the way to it.

    >>> from steepest.rules import adamw
    >>> dict(numbers(adamw()))["beta2"]
    ('betas', 1)
    """
    for name, value in piece.arguments:
        if isinstance(value, Piece):
            for inner, path in numbers(value):
                yield f"{name}.{inner}", (name, *path)
        elif isinstance(value, tuple) and name.endswith("s"):
            stem = name if name == "eps" else name[:-1]
            for i, v in enumerate(value):
                if isinstance(v, int | float) and not isinstance(v, bool):
                    yield f"{stem}{i + 1}", (name, i)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, (name,)


def replaced(piece: Piece, path: Path, value: float) -> Piece:
    """The piece with one of its numbers changed."""
    name, *rest = path
    arguments = dict(piece.arguments)
    held = arguments[str(name)]
    if isinstance(held, Piece):
        arguments[str(name)] = replaced(held, tuple(rest), value)
    elif rest:
        arguments[str(name)] = tuple(value if i == rest[0] else v for i, v in enumerate(held))
    else:
        arguments[str(name)] = value
    return Piece(piece.kind, tuple(arguments.items()))


def _accepts(piece: Piece, path: Path, value: float) -> bool:
    try:
        replaced(piece, path, value)
    except (SteepestError, ValueError):
        return False
    return True
