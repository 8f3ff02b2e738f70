"""``steepest compare``: strategies x tasks x seeds; a leaderboard, the verdict in words, and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steepest.cli.console import Stopped, command, complain, say
from steepest.cli.leaderboard import show
from steepest.core.errors import RecordError
from steepest.core.records import SUMMARY, read_json, slug


def compare(
    tasks: Annotated[
        list[str],
        typer.Argument(help="Tasks, by name or as my_module:my_task.", metavar="TASK...", show_default=False),
    ],
    strategies: Annotated[
        list[str],
        typer.Option(
            "--strategy", "-s", help="A strategy, as text; once for each.", metavar="TEXT", show_default=False
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each strategy on each task.")] = 5,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Length of a run; the task's own if not given.", show_default=False)
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time; one for each core if not given.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the records; the same command goes on in the same folder.", show_default=False),
    ] = None,
) -> None:
    """Compare strategies: the same initialisation and data order for each, several seeds, paired intervals.

    Validation chooses; the test split is touched once. A second call with the same folder only does what is missing.
    """
    from steepest.compare import compare as run
    from steepest.report import render

    said = [*tasks, *(word for text in strategies for word in ("-s", text)), "--seeds", str(seeds)]
    said += ["--steps", str(steps)] if steps is not None else []
    folder = out or Path("runs") / slug(" ".join(said))
    again = command("compare", *said, "--out", str(folder))
    try:
        run(tasks, strategies, seeds=seeds, steps=steps, jobs=jobs, out=folder)
    except KeyboardInterrupt:
        raise Stopped(f"What is finished is kept. Go on with: {again}") from None

    summary = read_json(folder / SUMMARY)
    show(summary)
    try:
        page = folder / "report.html"
        render(folder, page)
        say(f"report: {page}", "bold")
    except (RecordError, OSError, ModuleNotFoundError) as error:  # the comparison itself is done and kept
        complain(f"the report was not written ({error}). The records are in {folder}: {command('report', str(folder))}")
    say(f"records: {folder}   (the same command goes on there: only what is missing is run)", "dim")
