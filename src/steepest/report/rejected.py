"""What a recommendation tried before its final: which strategy was rejected on which rung."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steepest.report.data import Records, mapping, number
from steepest.report.html import Child, element
from steepest.report.tables import Cell, Column, table
from steepest.report.words import figure


def rejected(records: Records) -> Child:
    """A row for each strategy, a column for each rung; None where nothing was rejected before the comparison."""
    made = mapping(records.recommendation)
    rungs = [r for r in made.get("rungs") or () if isinstance(r, Mapping) and isinstance(r.get("ranking"), list)]
    if not rungs:
        return None
    steps = number(mapping(made.get("task")).get("steps"))
    words = (
        "Every run on a rung is a whole schedule, from beginning to end, of a shorter length; the worse strategies are "
        "rejected after it. Each stands there with the best of the settings that were tried. These runs never read the "
        "test split, and the final has seeds that none of them had. A short run can reject what would have won a long "
        "one: the table says how near it was."
    )
    answer = mapping(made.get("answer")).get("verdict")
    hint = f"validation value at the end; a whole run has {steps:g} steps" if steps else ""
    columns = [Column("Strategy", numeric=False), *(Column(f"{r.get('steps')} steps", hint=hint) for r in rungs)]
    columns.append(Column("Rejected", numeric=False))
    order = [str(e.get("label")) for r in reversed(rungs) for e in r["ranking"]]
    rows = [_row(label, rungs) for label in dict.fromkeys(order)]
    shown = table("rungs", "Values at the end of each rung", columns, rows)
    return [element("p", str(answer), class_="facts") if answer else None, element("p", words, class_="facts"), shown]


def _row(label: str, rungs: list[Mapping[str, Any]]) -> list[Cell]:
    cells, last, setting = [], "", label
    for place, rung in enumerate(rungs, start=1):
        entry = next((mapping(e) for e in rung["ranking"] if mapping(e).get("label") == label), None)
        value = None if entry is None else number(entry.get("value"))
        cells.append(Cell("" if entry is None else "lost" if value is None else figure(value, 4), value))
        if entry is not None:
            setting = str(entry.get("setting") or label)
            last = "" if entry.get("kept") else f"on rung {place}"
    name = [element("code", label), element("br"), element("code", f"best as {setting}")] if setting != label else None
    return [Cell(name or element("code", label), label.lower()), *cells, Cell(last or "in the final", last)]
