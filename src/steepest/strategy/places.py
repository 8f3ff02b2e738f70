"""The single values in a strategy's pieces: the way to each, its name as a path, and what it may be."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from steepest.core.errors import unknown
from steepest.core.piece import Piece
from steepest.strategy.dimension import Choice, Dimension, Range, SpaceError

Key = tuple[str | int, ...]
"""The way into a piece: ``("lr",)``, ``("betas", 1)``, ``("rest", "lr")``."""


def path_words(key: Key) -> list[str]:
    """A way into a piece as the words of a path: ``betas``, 1 is ``beta2``.

    >>> path_words(("rest", "betas", 0)), path_words(("eps", 1))
    (['rest', 'beta1'], ['eps2'])
    """
    words: list[str] = []
    for part in key:
        if isinstance(part, int):
            stem = words.pop()
            words.append(f"{stem if stem == 'eps' else stem.removesuffix('s')}{part + 1}")
        else:
            words.append(part)
    return words


def paths(pieces: tuple[Piece, ...], places: Iterable[tuple[int, Key]]) -> list[str]:
    """Values as paths; the second piece of a name is ``name[2]``."""
    entries = list(places)
    whole = {place for place, key in entries if not key}  # a piece that is one of several goes by its role
    names: list[str] = []
    for i, p in enumerate(pieces):
        name = p.role if i in whole else p.name
        again = sum((q.role if j in whole else q.name) == name for j, q in enumerate(pieces[:i]))
        names.append(f"{name}[{again + 1}]" if again else name)
    return [".".join([names[place], *path_words(key)]) for place, key in entries]


def resolved(name: str, paths: list[str]) -> str:
    """The whole path that a name means: itself, or its last words where these are enough."""
    found = [p for p in paths if p == name] or [p for p in paths if p.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise SpaceError(f"{name!r} may be {' or '.join(map(repr, found))}. Give the whole path.")
    raise unknown("dimension", name, [*paths, *(p.rpartition(".")[2] for p in paths)])


def middle(dimension: Dimension) -> Any:
    """What stands for a range in a strategy: its middle; for a choice, its first value."""
    return dimension.at(0.5 if isinstance(dimension, Range) else 0.0)


def put(piece: Piece, key: Key, value: Any) -> Piece:
    """The piece with another value at a place in it; the other piece itself where the way is empty."""
    if not key:
        other: Piece = value
        return other

    def inside(old: Any, rest: Key) -> Any:
        if not rest:
            return value
        if isinstance(old, Piece):
            return put(old, rest, value)
        return tuple(inside(v, rest[1:]) if i == rest[0] else v for i, v in enumerate(old))

    return Piece(piece.kind, tuple((n, inside(v, key[1:]) if n == key[0] else v) for n, v in piece.arguments))


def check_ends(piece: Piece, key: Key, dimension: Dimension) -> None:
    """Both ends of a range, or every choice, must be values that the piece takes."""
    ends = dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)
    for value in ends:
        put(piece, key, value)


def keys(piece: Piece) -> Iterator[tuple[Key, Any, inspect.Parameter]]:
    """Every single value in a piece, with the way to it."""

    def inside(key: Key, value: Any, parameter: inspect.Parameter) -> Iterator[tuple[Key, Any, inspect.Parameter]]:
        if isinstance(value, Piece):
            yield from (((*key, *k), v, p) for k, v, p in keys(value))
        elif isinstance(value, tuple):
            for i, v in enumerate(value):
                yield from inside((*key, i), v, parameter)
        else:
            yield key, value, parameter

    for name, value in piece.arguments:
        yield from inside((name,), value, piece.kind.signature.parameters[name])


def even(given: Any, parameter: inspect.Parameter) -> Range:
    """A pair of numbers as the range between them."""
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise SpaceError(
            f"{parameter.name} is searched in log(a, b), near_one(a, b), choice(...) or a pair (a, b); got {given!r}."
        )
    return Range(*given)


def typed(dimension: Dimension, parameter: inspect.Parameter) -> Dimension:
    """A range as its argument takes it: whole numbers where only these are, or where both ends are and may be."""
    if isinstance(dimension, Choice):
        return dimension
    takes, ends = str(parameter.annotation), (dimension.low, dimension.high)
    integer = all(isinstance(e, int) and not isinstance(e, bool) for e in ends)
    if "Duration" in takes or ("int" in takes and "float" in takes):
        return Range(*ends, dimension.scale, integer)
    if "int" in takes:
        if not integer:
            raise SpaceError(f"{parameter.name} takes whole numbers; {dimension} has other ends.")
        return Range(*ends, dimension.scale, True)
    if "float" in takes:
        return Range(float(ends[0]), float(ends[1]), dimension.scale)
    raise SpaceError(f"{parameter.name} is no number: it can be one of several, choice(...), but not in {dimension}.")


def written(piece: Piece, inside: Mapping[Key, Dimension]) -> str:
    """The piece as text with its ranges in it; otherwise as a piece prints itself."""
    if () in inside:
        return str(inside[()])

    def show(key: Key, value: Any) -> str:
        if key in inside:
            return str(inside[key])
        here = {k[len(key) :]: d for k, d in inside.items() if k[: len(key)] == key}
        if isinstance(value, Piece):
            return written(value, here)
        if isinstance(value, tuple):
            parts = [show((*key, i), v) for i, v in enumerate(value)]
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        return repr(value)

    given: list[str] = []
    for name, value in piece.arguments:
        parameter = piece.kind.signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            given.extend(show((name, i), v) for i, v in enumerate(value))
        elif parameter.default != value or any(k[0] == name for k in inside):
            given.append(f"{name}={show((name,), value)}")
    return f"{piece.name}({', '.join(given)})"
