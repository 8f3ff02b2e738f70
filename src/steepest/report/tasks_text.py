"""How several tasks get on, for the terminal: tables and a verdict, from a record of kind "tasks" alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 0.15
"""Affinities smaller than this are not shown."""
FEW = 12
"""Up to so many tasks affinities are shown as numbers."""


def order(record: Mapping[str, Any]) -> list[int]:
    """Tasks with those of their cluster beside them.

    >>> order({"clusters": [0, 1, 0]})
    [0, 2, 1]
    """
    labels = record["clusters"]
    return sorted(range(len(labels)), key=lambda i: (labels[i], i))


def tasks_text(record: Mapping[str, Any], width: int = 100) -> str:
    """Tables of the tasks, of their affinities and of what was tried, and the verdict."""
    lines = [
        f"{record['task']}: {len(record['names'])} tasks, {record['parameters']} parameters, {record['strategy']}",
        "",
    ]
    head = ["task", "loss, first", "loss, last", "gradient", "noise", "cluster"]
    rows = [
        [
            t["name"],
            f"{t['loss_first']:.3g}",
            f"{t['loss_last']:.3g}",
            f"{t['gradient']:.3g}",
            f"{t['noise']['mean']:.0%}",
            letter(t["cluster"]),
        ]
        for t in record["tasks"]
    ]
    lines += table([head, *rows])
    lines += ["", "affinity: cosines between gradients, noise taken out"]
    lines += matrix(record, width)
    if record["trial"]:
        finals, trials = record["finals"], record["trials"]
        lines += [
            "",
            f"tried: {trials} trials each for the learning rate, then {finals} fresh seeds; losses against the sum",
        ]
        lines += table([["way", "against the sum", "95 %", "time", "pays"], *map(tried, record["trial"])])
    lines += [""]
    for sentence in record["verdict"]:
        lines += wrapped(sentence, width)
    return "\n".join(lines)


def matrix(record: Mapping[str, Any], width: int) -> list[str]:
    """The affinities as numbers, or as signs where numbers do not fit."""
    names, A, places = record["names"], record["affinity"], order(record)
    longest = max(map(len, names))
    if longest + 6 * len(names) <= width and len(names) <= FEW:
        head = ["", *(names[j][:5] for j in places)]
        return table([head, *[[names[i], *(f"{A[i][j]:+.2f}" for j in places)] for i in places]])
    lines = [f"{names[i]:>{longest}}  " + "".join(sign(A[i][j]) for j in places) for i in places]
    return [*lines, f"{'':>{longest}}  █ above 0.6  ▓ 0.3  ░ {SHOWN}  · none  − against"]


def sign(value: float) -> str:
    """One character for an affinity.

    >>> "".join(map(sign, (0.9, 0.4, 0.2, 0.0, -0.5)))
    '█▓░·−'
    """
    return "█" if value > 0.6 else "▓" if value > 0.3 else "░" if value > SHOWN else "−" if value < -SHOWN else "·"


def letter(cluster: int) -> str:
    """A cluster as a letter: A, B, ..., Z, A1, ...

    >>> letter(0), letter(27)
    ('A', 'B1')
    """
    return chr(ord("A") + cluster % 26) + (str(cluster // 26) if cluster >= 26 else "")


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need, the first to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            f"{cell:<{w}}" if k == 0 else f"{cell:>{w}}" for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def wrapped(text: str, width: int) -> list[str]:
    """Lines of words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def change(row: Mapping[str, Any]) -> tuple[float, float | None, float | None] | None:
    """The losses of a way over those of the sum, with the interval; None where there is no such number."""
    against = row.get("against sum")
    if row["name"] == "sum" and row["values"]:
        return 1.0, None, None
    if against is None:
        return None
    ends = [None if v is None else math.exp(v) for v in (against["low"], against["high"])]
    return math.exp(against["mean"]), ends[0], ends[1]


def tried(row: Mapping[str, Any]) -> list[str]:
    """The cells of a way that was tried."""
    found = change(row)
    if found is None:
        return [row["name"], f"{row['lost']} runs lost" if row["lost"] else "", "", "", ""]
    factor, low, high = found
    span = "" if low is None or high is None else f"{low - 1:+.1%} to {high - 1:+.1%}"
    said = ("yes" if row.get("pays") else "no") if row["compares"] else "best plain" if row["best plain"] else ""
    return [
        row["name"],
        "1" if row["name"] == "sum" else f"{factor - 1:+.1%}",
        span,
        f"{row['cpu_seconds']:.2f} s",
        said,
    ]
