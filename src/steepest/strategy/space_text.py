"""Read the text form of a search space."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from steepest.core.errors import SteepestError, UnknownName, nearest, unknown
from steepest.core.piece import Kind, Piece
from steepest.strategy.dimension import Choice, Dimension, Range, SpaceError
from steepest.strategy.places import Key, check_ends, middle, path_words, typed
from steepest.strategy.table import table
from steepest.strategy.text import Reader

WORDS = {"log": "log", "near_one": "near_one", "uniform": "linear"}


class SpaceReader(Reader):
    """Reads a strategy's text with ranges in it; every error points into that text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.found: list[tuple[Piece, dict[Key, Dimension]]] = []

    def space(self) -> tuple[tuple[Piece, ...], tuple[tuple[int, Key, Dimension], ...]]:
        """The pieces with the middles of their ranges, and which values of them are searched."""
        self.read()  # fills ``found``, and checks the strategy in the middle of the space
        opened = [(i, key, d) for i, (_, inside) in enumerate(self.found) for key, d in inside.items()]
        return tuple(p for p, _ in self.found), tuple(opened)

    def part(self, node: ast.expr, first: bool = False) -> Piece:
        whole = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "choice"
        found = self.one_of(node) if whole else self.open(node, first)  # type: ignore[arg-type]
        self.found.append(found)
        return found[0]

    def one_of(self, node: ast.Call) -> tuple[Piece, dict[Key, Dimension]]:
        """A choice between whole pieces of one role: ``choice(cosine, linear)``."""
        found: list[Piece] = []
        for given in node.args:
            piece, inside = self.open(given)
            if inside:
                said = f"the pieces of a choice have no ranges; search {piece.name} in a strategy of its own"
                raise self.refused(f"{said}, beside this one", given)
            rule = piece.role in ("rule", "recipe")
            if rule or piece.role != (found or [piece])[0].role:
                said = "other rules are other strategies" if rule else "it has several roles"
                raise self.refused(f"a choice is between pieces of one role, such as schedules; {said}", given)
            found.append(piece)
        if node.keywords or len(found) < 2:
            raise self.refused("a choice has at least two pieces, as they are: choice(cosine, linear)", node)
        try:
            return found[0], {(): Choice(tuple(found))}
        except SpaceError as error:
            raise self.refused(str(error), node) from None

    def open(self, node: ast.expr, first: bool = False) -> tuple[Piece, dict[Key, Dimension]]:
        """A piece with the middles of its ranges, and the ranges."""
        call = node if isinstance(node, ast.Call) else None
        name = call.func if call else node
        if not isinstance(name, ast.Name) or call is None:
            return super().part(node, first), {}
        kind = self.kind(name, first)
        nodes = self.bound(call, kind)
        inside: dict[Key, Dimension] = {}
        where: dict[Key, ast.expr] = {}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for word, given in nodes.items():
            parameter = kind.signature.parameters[word]
            value = self.argument(given, (word,), parameter, inside, where)
            if parameter.kind is parameter.VAR_POSITIONAL:
                args += value
            else:
                kwargs[word] = value
        try:
            made = kind(*args, **kwargs)
        except (SteepestError, TypeError, ValueError, OverflowError) as error:
            raise self.pointed(error, kind, next(iter(where.values()), node)) from None
        for key, dimension in inside.items():
            try:
                check_ends(made, key, dimension)
            except (SteepestError, TypeError, ValueError, OverflowError) as error:
                raise self.refused(f"{kind.name}, {'.'.join(path_words(key))}: {error}", where[key]) from None
        return made, inside

    def bound(self, call: ast.Call, kind: Kind[..., Any]) -> dict[str, Any]:
        """Which part of the text is which argument."""
        keywords: dict[str, ast.expr] = {}
        for k in call.keywords:
            if k.arg is None:
                raise self.wrong("'**' is not part of the strategy language", k.value)
            if k.arg in keywords:
                raise self.wrong(f"{kind.name} is given {k.arg!r} twice", k)
            keywords[k.arg] = k.value
        try:
            return kind.signature.bind_partial(*call.args, **keywords).arguments
        except TypeError:
            try:  # there are words for this
                kind.bind(tuple(call.args), dict(keywords))
            except SteepestError as error:
                bad = next((k for k in call.keywords if k.arg not in kind.signature.parameters), call)
                raise self.pointed(error, kind, bad) from None
            raise

    def argument(
        self,
        node: Any,
        key: Key,
        parameter: inspect.Parameter,
        inside: dict[Key, Dimension],
        where: dict[Key, ast.expr],
    ) -> Any:
        """The value of an argument; ranges in it go into ``inside``, and their middles into the value."""
        if isinstance(node, tuple):  # several positional ones
            return tuple(self.argument(n, (*key, i), parameter, inside, where) for i, n in enumerate(node))
        dimension: Dimension | None = None
        match node:
            case ast.Call(func=ast.Name(id="choice"), args=args, keywords=[]):
                dimension = self.made(Choice, node, key, tuple(self.value(a) for a in args))
            case ast.Call(func=ast.Name(id="log" | "near_one" | "uniform" as word), args=[low, high], keywords=[]):
                dimension = self.made(Range, node, key, self.value(low), self.value(high), WORDS[word])
            case ast.Call(func=ast.Name(id="log" | "near_one" | "uniform" | "choice" as word)):
                raise self.wrong(f"{word} takes {'its values' if word == 'choice' else 'two numbers'}", node)
            case ast.Tuple(elts=[low, high]) if len(key) > 1 or not _takes_several(parameter):
                dimension = self.made(Range, node, key, self.value(low), self.value(high))
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return tuple(self.argument(n, (*key, i), parameter, inside, where) for i, n in enumerate(items))
            case ast.Call(func=ast.Name(id=word)) if word not in table() and nearest(word, [*WORDS, "choice"]):
                raise UnknownName(f"{unknown('range', word, [*WORDS, 'choice'])}\n{self.arrow(node.func)}")
            case ast.Call():
                piece, ranges = self.open(node)
                inside |= {(*key, *k): d for k, d in ranges.items()}
                where |= {(*key, *k): node for k in ranges}
                return piece
        if dimension is None:
            return self.value(node)
        try:
            inside[key] = typed(dimension, parameter)
        except SpaceError as error:
            raise self.refused(str(error), node) from None
        where[key] = node
        return middle(inside[key])

    def made(self, kind: type[Any], node: ast.expr, key: Key, *args: Any) -> Any:
        try:
            return kind(*args)
        except SpaceError as error:
            raise self.refused(f"{self.owner(node)}{'.'.join(path_words(key))}: {error}", node) from None

    def owner(self, node: ast.expr) -> str:
        """The name of the innermost piece that holds a place in the text."""
        calls = [c for c in ast.walk(ast.parse(self.text, mode="eval")) if isinstance(c, ast.Call) and _holds(c, node)]
        names = [c.func.id for c in calls if isinstance(c.func, ast.Name)]
        return f"{names[-1]}, " if names else ""

    def refused(self, message: str, node: ast.expr) -> SpaceError:
        return SpaceError(f"{message}\n{self.arrow(node)}")


def _holds(outer: ast.expr, inner: ast.expr) -> bool:
    """Whether one place in the text lies inside another, and is not it."""
    start, end = (outer.lineno, outer.col_offset), (outer.end_lineno or 0, outer.end_col_offset or 0)
    return start < (inner.lineno, inner.col_offset) and (inner.end_lineno or 0, inner.end_col_offset or 0) <= end


def _takes_several(parameter: inspect.Parameter) -> bool:
    """Whether a tuple is what the argument takes."""
    takes = str(parameter.annotation)
    return any(word in takes for word in ("tuple", "Sequence", "Any")) or parameter.kind is parameter.VAR_POSITIONAL
