"""What stands along an axis of a tensor: neurons, by name and not by place.

An axis is an expression over :class:`Atom` s: a product (channels x positions, heads x features), flattened with the
last fastest, or pieces side by side (queries | keys | values). Two axes that meet in a sum or a contraction hold the
same neurons: :func:`unify` says so, and takes an atom apart where the other side is finer. What does not fit is
*fixed*: its neurons keep their places. So whatever is not fixed in the end may be permuted wherever it stands, all at
once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias


class Atom:
    """Neurons that belong together: ``size`` of them, permuted together or, where ``fixed`` says why, not at all."""

    __slots__ = ("fixed", "into", "size")

    def __init__(self, size: int, fixed: str = "") -> None:
        self.size, self.fixed = size, fixed
        self.into: Axis | None = None

    def __repr__(self) -> str:
        return f"{self.size}{'!' if self.fixed else ''}"


@dataclass(frozen=True)
class Product:
    """Every combination of the parts, the last changing fastest."""

    parts: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """How many places it has."""
        return math.prod(part.size for part in self.parts)


@dataclass(frozen=True)
class Beside:
    """One part after the other."""

    parts: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """How many places it has."""
        return sum(part.size for part in self.parts)


Axis: TypeAlias = Atom | Product | Beside


def seen(axis: Axis) -> Axis:
    """The axis as far as it is known by now: atoms that were found to be something else are replaced by it."""
    if isinstance(axis, Atom):
        return axis if axis.into is None else seen(axis.into)
    parts = [seen(part) for part in axis.parts]
    return product(parts) if isinstance(axis, Product) else beside(parts)


def product(parts: Sequence[Axis]) -> Axis:
    """The product of some axes; those of size 1 are left out.

    >>> product([Atom(3), product([Atom(1), Atom(2), Atom(5)])])
    Product(parts=(3, 2, 5))
    """
    flat: list[Axis] = []
    for part in map(seen, parts):
        flat += part.parts if isinstance(part, Product) else [part]
    flat = [part for part in flat if part.size != 1]
    return flat[0] if len(flat) == 1 else Product(tuple(flat)) if flat else Atom(1)


def beside(parts: Sequence[Axis]) -> Axis:
    """Some axes one after the other."""
    flat: list[Axis] = []
    for part in map(seen, parts):
        flat += part.parts if isinstance(part, Beside) else [part]
    return flat[0] if len(flat) == 1 else Beside(tuple(flat))


def atoms(axis: Axis) -> Iterator[Atom]:
    """The atoms of an axis, from left to right."""
    axis = seen(axis)
    if isinstance(axis, Atom):
        yield axis
    else:
        for part in axis.parts:
            yield from atoms(part)


def fix(axis: Axis, why: str) -> None:
    """Say that what stands here must keep its place; the first reason counts."""
    for atom in atoms(axis):
        atom.fixed = atom.fixed or why


def become(atom: Atom, axis: Axis) -> None:
    """An atom turns out to be something else of the same size."""
    if any(part is atom for part in atoms(axis)):
        if seen(axis) is not atom:
            fix(axis, "part of itself")
        return
    if atom.fixed:
        fix(axis, atom.fixed)
    atom.into = axis


def unify(a: Axis, b: Axis) -> None:
    """Say that two axes hold the same neurons in the same order.

    >>> whole, heads = Atom(12), product([Atom(3), Atom(4)])
    >>> unify(whole, heads)
    >>> seen(whole)
    Product(parts=(3, 4))
    """
    a, b = seen(a), seen(b)
    if a is b:
        return
    if isinstance(b, Atom):
        a, b = b, a
    if isinstance(a, Atom):
        become(a, b)
        return
    if isinstance(a, Product) and isinstance(b, Product):
        pairs = _cut(a, [part.size for part in b.parts])
        if pairs is None and (back := _cut(b, [part.size for part in a.parts])) is not None:
            pairs, b = back, a
        if pairs is not None:
            for one, other in zip(pairs, b.parts, strict=True):
                unify(one, other)
            return
    elif isinstance(a, Beside) and isinstance(b, Beside):
        marks = sorted({*_ends(a), *_ends(b)})
        sizes = [end - start for start, end in zip([0, *marks], marks, strict=False)]
        ours, theirs = divide(a, sizes), divide(b, sizes)
        if ours is not None and theirs is not None:
            for x, y in zip(ours, theirs, strict=True):
                unify(x, y)
            return
    for axis in (a, b):
        fix(axis, "parts that do not fit together")


def _ends(axis: Beside) -> Iterator[int]:
    end = 0
    for part in axis.parts:
        end += part.size
        yield end


def divide(axis: Axis, sizes: Sequence[int]) -> list[Axis] | None:
    """The pieces of an axis, side by side, of these sizes; None where a product would have to be cut across.

    >>> [piece.size for piece in divide(Atom(6), [2, 4])]
    [2, 4]
    """
    axis = seen(axis)
    if len(sizes) == 1:
        return [axis]
    if isinstance(axis, Atom):
        parts = tuple(Atom(size, axis.fixed) for size in sizes)
        axis.into = Beside(parts)
        return list(parts)
    if isinstance(axis, Product):
        return _rows(axis, sizes)
    found: list[Axis] = []
    queue = list(axis.parts)
    for size in sizes:
        piece: list[Axis] = []
        while size:
            part = queue.pop(0)
            if part.size > size:
                halves = divide(part, [size, part.size - size])
                if halves is None:
                    return None
                part, rest = halves
                queue.insert(0, rest)
            piece.append(part)
            size -= part.size
        found.append(beside(piece))
    return found


def _rows(axis: Product, sizes: Sequence[int]) -> list[Axis] | None:
    """A product cut along its first part: whole rows, which then hold the same neurons."""
    first, rest = axis.parts[0], product(axis.parts[1:])
    if any(size % rest.size for size in sizes):
        return None
    pieces = divide(first, [size // rest.size for size in sizes])
    return None if pieces is None else [product([piece, rest]) for piece in pieces]


def cut(axis: Axis, sizes: Sequence[int]) -> list[Axis] | None:
    """The factors of an axis of these sizes; None where a boundary falls inside something that has no such factors.

    >>> [factor.size for factor in cut(Atom(12), [3, 1, 4])]
    [3, 1, 4]
    """
    axis = seen(axis)
    return _cut(axis if isinstance(axis, Product) else Product((axis,)), sizes)


def _cut(axis: Product, sizes: Sequence[int]) -> list[Axis] | None:
    queue, found = [part for part in axis.parts if part.size != 1], list[Axis]()
    for size in sizes:
        taken: list[Axis] = []
        while size > 1:
            part = seen(queue.pop(0))
            if size % part.size:
                if not isinstance(part, Atom) or part.size % size:
                    return None
                parts = Atom(size, part.fixed), Atom(part.size // size, part.fixed)
                part.into = Product(parts)
                part = parts[0]
                queue.insert(0, parts[1])
            taken.append(part)
            size //= part.size
        found.append(product(taken) if taken else Atom(1))
    return found
