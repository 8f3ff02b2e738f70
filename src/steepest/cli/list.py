"""``steepest list``: every rule, schedule, gradient piece, recipe and task, with its arguments and its source."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from steepest.cli.catalog import CATALOG, Entry, entries
from steepest.cli.console import console, say


def list_(
    what: Annotated[
        str | None, typer.Argument(help=f"One of {', '.join(CATALOG)}; all if not given.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List what a strategy can be made of, and the tasks to try it on."""
    wanted = {name: entries(name) for name in ([what] if what is not None else CATALOG)}
    if as_json:
        plain = {name: [entry.as_dict() for entry in found] for name, found in wanted.items()}
        print(json.dumps(plain[what] if what is not None else plain, indent=2, ensure_ascii=False))
        return
    for name, found in wanted.items():
        say(name, "bold")
        console().print(_table(found))


def _table(found: list[Entry]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("name", style="bold cyan", no_wrap=True)
    for heading in ("arguments", "meaning", "source"):
        table.add_column(heading, overflow="fold")
    for entry in found:
        table.add_row(*(Text(cell) for cell in (entry.name, entry.arguments, entry.meaning, entry.source)))
    return table
