"""The leaderboard of a comparison in the terminal, from its summary alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from steepest.cli.console import console, figure


def show(summary: Mapping[str, Any]) -> None:
    """Print a table and a verdict for each task, and the verdict over all of them."""
    out = console()
    for name, task in summary["tasks"].items():
        out.print()
        out.print(_table(name, task))
        out.print(Text(task["verdict"]))
    verdict = (summary.get("overall") or {}).get("verdict")
    if verdict and len(summary["tasks"]) > 1:
        out.print()
        out.print(Text("Overall: ", style="bold").append(Text(verdict, style="not bold")))
    out.print()


def _table(name: str, task: Mapping[str, Any]) -> Table:
    arrow = "higher" if task["goal"] == "max" else "lower"
    table = Table(
        title=f"{name}: {task['metric']}, {arrow} is better",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    table.add_column("", justify="right")
    table.add_column("strategy", overflow="fold", style="cyan")
    for heading in ("validation", "test", "behind the best", "to target", "s a run"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in task["leaderboard"]:
        table.add_row(
            str(row["rank"]) if row["rank"] is not None else "-",
            Text(row["label"]),
            _spread(row["validation"]),
            _spread(row["test"]),
            _behind(row),
            _target(row["time_to_target"]),
            figure((row["seconds"] or {}).get("mean"), 3),
        )
    return table


def _spread(cell: Mapping[str, Any] | None) -> str:
    """Mean and standard deviation over seeds.

    >>> _spread({"mean": 0.51234, "sd": 0.0123}), _spread(None)
    ('0.5123 ± 0.012', '-')
    """
    if cell is None or cell.get("mean") is None:
        return "-"
    return figure(cell["mean"]) + (f" ± {figure(cell['sd'], 2)}" if cell.get("sd") is not None else "")


def _behind(row: Mapping[str, Any]) -> str:
    """The paired interval against the best strategy, or how many runs were lost.

    >>> _behind({"rank": 2, "against_best": {"difference": 0.1, "low": -0.05, "high": 0.2, "separable": False}})
    'not separable [-0.05, 0.2]'
    """
    lost = [f"{row[what]} {what}" for what in ("diverged", "failed") if row.get(what)]
    against = row.get("against_best") or {}
    if lost:
        return ", ".join(lost)
    if against.get("separable") is None:
        return "best" if row["rank"] == 1 else "-"
    interval = f"[{figure(against['low'], 2)}, {figure(against['high'], 2)}]"
    return f"{figure(against['difference'], 3)} {interval}" if against["separable"] else f"not separable {interval}"


def _target(cell: Mapping[str, Any] | None) -> str:
    """Steps to the target, and how many runs reached it."""
    if not cell or cell.get("n") is None or cell.get("reached") is None:
        return "-"
    steps = figure(cell.get("steps"))
    return f"{steps} steps ({cell['reached']} of {cell['n']})" if cell["reached"] else f"never ({cell['n']} runs)"
