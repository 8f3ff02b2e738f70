"""Places over several tasks, and how much they hang on one of them."""

from __future__ import annotations

from collections.abc import Mapping

Values = Mapping[str, float]
"""A cost by strategy, smaller is better; infinity for one that has no value."""


def ranks(values: Values) -> dict[str, int]:
    """1 for the best; equal values share a rank, and none is skipped after them.

    So a strategy entered twice leaves all others where they were.

    >>> ranks({"a": 0.3, "b": 0.1, "c": 0.3, "d": 0.5})
    {'a': 2, 'b': 1, 'c': 2, 'd': 3}
    """
    order = sorted(set(values.values()))
    return {s: order.index(v) + 1 for s, v in values.items()}


def mean_ranks(tasks: Mapping[str, Values]) -> dict[str, float]:
    """Mean place of each strategy over the tasks.

    >>> mean_ranks({"x": {"a": 1.0, "b": 2.0}, "y": {"a": 2.0, "b": 1.0}})
    {'a': 1.5, 'b': 1.5}
    """
    places = [ranks(values) for values in tasks.values()]
    return {s: sum(p[s] for p in places) / len(places) for s in (places[0] if places else ())}


def leave_one_out(tasks: Mapping[str, Values]) -> dict[str, dict[str, int]]:
    """The place of each strategy by mean rank with each task left out, by the task that is left out.

    >>> leave_one_out({"x": {"a": 1.0, "b": 2.0}, "y": {"a": 2.0, "b": 1.0}})
    {'x': {'a': 2, 'b': 1}, 'y': {'a': 1, 'b': 2}}
    """
    if len(tasks) < 2:
        return {}
    return {left: ranks(mean_ranks({t: v for t, v in tasks.items() if t != left})) for left in tasks}
