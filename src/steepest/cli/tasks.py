"""``steepest tasks``: how several tasks get on in one model, and which way to combine their losses pays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steepest.cli.answer import Jobs, Steps
from steepest.cli.console import command, console, say
from steepest.cli.progress import counted
from steepest.core.records import slug


def tasks(
    task: Annotated[
        str, typer.Argument(help="A task with several losses, by name or as my_module:my_task.", show_default=False)
    ],
    strategy: Annotated[
        str,
        typer.Option("--strategy", "-s", help="What it is trained with, without a multi-task method.", metavar="TEXT"),
    ] = "adamw(lr=1e-3) | cosine",
    seeds: Annotated[int, typer.Option(min=1, help="Measure from so many initialisations.")] = 3,
    looks: Annotated[int, typer.Option(min=1, help="How often to look during a run.")] = 8,
    trials: Annotated[int, typer.Option(min=0, help="Trials for each way to combine the losses; 0: measure only.")] = 8,
    finals: Annotated[int, typer.Option(min=3, help="Seeds of the final runs.")] = 5,
    steps: Steps = None,
    jobs: Jobs = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the records and the page.", show_default=False)] = None,
) -> None:
    """Measure scales, conflicts, noise and affinity of several tasks, and try what pays.

    Ways that weigh losses and ways that compare gradients are tuned with the same number of trials; surgery is
    recommended only where it beats the best plain way by more than luck. The same command goes on where it was stopped.
    """
    from steepest.advisor import advise
    from steepest.report import draw
    from steepest.report.tasks_text import tasks_text

    folder = out or Path("runs") / slug(f"tasks {task}")
    with counted("steps of measuring") as tell:
        found = advise(
            task,
            strategy,
            seeds=seeds,
            looks=looks,
            trials=trials,
            finals=finals,
            steps=steps,
            out=folder,
            jobs=jobs,
            on_step=tell,
        )
    terminal = console()
    say(tasks_text(found.record, min(terminal.width, 110) if terminal.is_terminal else 100))
    page = folder / "tasks.html"
    draw(found, page)
    say(f"\npage: {page}", "bold")
    say(f"next: {command('train', task, '-s', found.strategy, '--out', 'runs/tasks-best')}", "dim")
