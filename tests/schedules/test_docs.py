"""The page about schedules names every piece as it is."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import steepest.schedules
from steepest.core.piece import kinds

PAGE = Path(__file__).resolve().parents[2] / "docs" / "schedules.md"


@pytest.mark.parametrize("name", kinds(steepest.schedules))
def test_the_table_has_every_piece_with_its_defaults(name: str) -> None:
    arguments = []
    for p in kinds(steepest.schedules)[name].signature.parameters.values():
        if p.name in ("on", "by"):
            continue
        star = "*" if p.kind is p.VAR_POSITIONAL else ""
        arguments.append(f"{star}{p.name}" if p.default is inspect.Parameter.empty else f"{p.name}={p.default!r}")
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.startswith(f"| `{name}({', '.join(arguments)})` |")], arguments
