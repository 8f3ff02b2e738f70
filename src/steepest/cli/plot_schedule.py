"""``steepest plot-schedule``: what a schedule does over a run, several on one plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steepest.cli.console import say


def plot_schedule(
    texts: Annotated[
        list[str],
        typer.Argument(
            help='Schedules or whole strategies: "cosine", "adamw(lr=3e-4) | warmup_cosine".',
            metavar="TEXT...",
            show_default=False,
        ),
    ],
    steps: Annotated[int, typer.Option(min=1, help="Length of the run.")] = 1000,
    epoch: Annotated[
        int | None, typer.Option(min=1, help="Steps in an epoch, for schedules that count epochs.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("schedules.html"),
) -> None:
    """Draw schedules: the factor at each step, or the value where a whole strategy says the base."""
    from steepest.report.schedule_plot import plot_schedules

    plot_schedules([], steps, epoch, out)
    say(f"plot: {out}")
