"""Numbers of which each tensor has its own: float64 vectors with one value a tensor, called columns.

A nested tuple of scalars may hold numbers, which are the same for all, and columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.executors.exact import Exact
from steepest.core.rule import Rule
from steepest.core.trace import flatten, rebuild

REFUSALS = (TypeError, ValueError, RuntimeError)
"""What Python and torch raise where code for one number is given a column: no truth value, no float of it."""

_singly: set[type[Rule]] = set()
"""Rules whose ``combine`` turned out to take numbers only."""


def column(values: Sequence[float]) -> Tensor:
    """One value a tensor.

    >>> column([1, 2.5])
    tensor([1.0000, 2.5000], dtype=torch.float64)
    """
    return torch.from_numpy(np.array(values, dtype=np.float64))


def listed(x: Any, n: int) -> list[Any]:
    """The values of a column, or ``n`` times a number.

    >>> listed(column([1, 2]), 2), listed(0.5, 3)
    ([1.0, 2.0], [0.5, 0.5, 0.5])
    """
    return x.expand(n).tolist() if isinstance(x, Tensor) else [x] * n


def rows(values: Any, n: int) -> Iterator[Any]:
    """A nested tuple with columns, for each tensor alone.

    >>> list(rows((0.5, (column([1, 2]),)), 2))
    [(0.5, (1.0,)), (0.5, (2.0,))]
    """
    columns = [listed(x, n) for x in flatten(values)]
    return (rebuild(values, own) for own in zip(*columns, strict=True)) if columns else iter([values] * n)


def some(values: Any, places: Sequence[int]) -> Any:
    """A nested tuple with columns, for some of the tensors.

    >>> some((0.5, (column([1, 2, 3]),)), [2, 0])
    (0.5, (tensor([3., 1.], dtype=torch.float64),))
    """
    return rebuild(values, [x[places] if isinstance(x, Tensor) and x.ndim else x for x in flatten(values)])


def one(values: Any, place: int) -> Any:
    """A nested tuple with columns, for one of the tensors.

    >>> one((0.5, (column([1, 2, 3]),)), 2)
    (0.5, (3.0,))
    """
    return rebuild(values, [float(x[place]) if isinstance(x, Tensor) and x.ndim else x for x in flatten(values)])


def block(values: Any) -> tuple[np.ndarray[Any, np.dtype[np.float64]], int]:
    """A nested tuple as one row of numbers, or one a tensor where it has columns; and of how many tensors, else 0.

    >>> block((0.5, (column([1, 2]),)))
    (array([[0.5, 1. ],
           [0.5, 2. ]]), 2)
    >>> block((0.5, (1.0,)))
    (array([[0.5, 1. ]]), 0)
    """
    leaves = flatten(values)
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    if not tensors:
        return np.array([leaves], dtype=np.float64), 0
    n = next((len(x) for x in tensors if x.ndim), 0)
    out = np.empty((max(1, n), len(leaves)))
    for j, x in enumerate(leaves):
        out[:, j] = x.numpy() if isinstance(x, Tensor) else x
    return out, n


def divided(values: Any) -> int:
    """How many tensors share a nested tuple of which each has its own numbers; 0 where it has no columns."""
    return next((len(x) for x in flatten(values) if isinstance(x, Tensor) and x.ndim), 0)


def combine(link: Rule, t: int, memory: Any, sums: Sequence[Any], n: int) -> tuple[Any, Any]:
    """:meth:`Rule.combine` for ``n`` tensors at once, or for one after the other where it takes numbers only."""
    if type(link) not in _singly:
        try:
            with Exact():  # or the square root of a number depended on how many others there are
                k, new = link.combine(t, memory, sums)
            return k, new
        except REFUSALS:
            pass  # what is wrong with the rule is wrong below too
    one = list(zip(rows(memory, n), rows(tuple(sums), n), strict=True))
    found = [link.combine(t, past, own) for past, own in one]
    _singly.add(type(link))
    leaves = [column(values) for values in zip(*map(flatten, found), strict=True)]
    k, new = rebuild(found[0], leaves)
    return k, new


def metrics(link: Rule, k: Any, sums: Sequence[Any], n: int) -> dict[str, float]:
    """:meth:`Rule.metrics`, the mean over ``n`` tensors."""
    found: Mapping[str, Any]
    try:
        found = link.metrics(k, sums)
    except REFUSALS:
        own = [link.metrics(*row) for row in zip(rows(k, n), rows(tuple(sums), n), strict=True)]
        found = {name: column([float(row[name]) for row in own]) for name in own[0]}
    return {name: float(np.mean(listed(x, n))) for name, x in found.items()}
