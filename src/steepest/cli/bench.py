"""``steepest bench``: strategies tuned alike, then compared on a suite of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steepest.cli.answer import Folder, Jobs, Steps, Together, length, report, show
from steepest.cli.console import Stopped, command, say
from steepest.cli.device import Device
from steepest.core.errors import unknown
from steepest.core.records import slug

if TYPE_CHECKING:
    from steepest.compare.estimate import Estimate


def bench(
    strategies: Annotated[
        list[str],
        typer.Option(
            "--strategy",
            "-s",
            help="A strategy or a space, as text; once for each. Without ranges the usual space is searched.",
            metavar="TEXT",
            show_default=False,
        ),
    ],
    tasks: Annotated[
        list[str] | None,
        typer.Argument(help="Tasks, in place of a suite.", metavar="[TASK]...", show_default=False),
    ] = None,
    suite: Annotated[str, typer.Option(help="Which list of tasks: small or full.")] = "small",
    trials: Annotated[int, typer.Option(min=1, help="Trials of each strategy on each task.")] = 8,
    seeds: Annotated[int, typer.Option(min=1, help="Final runs of each setting, on seeds no trial has seen.")] = 5,
    study: Annotated[int, typer.Option(min=0, help="Another search: other points, other seeds of trials.")] = 0,
    steps: Steps = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    together: Together = "auto",
    out: Folder = None,
) -> None:
    """Tune strategies with equal budgets on every task, then compare what they chose on fresh seeds.

    Each strategy stands there tuned and as it is given, beside a random search over all with twice the trials. The cost
    is said before anything runs; Ctrl-C keeps what is done, and the same command goes on from there.
    """
    from steepest.compare import compare as run
    from steepest.report import render

    named = list(tasks or _suite(suite))
    said = [*(word for text in strategies for word in ("-s", text)), "--trials", str(trials), "--study", str(study)]
    where = list(tasks) if tasks else ["--suite", suite]
    folder = out or Path("runs") / slug(" ".join(["bench", *where, *said, *length(steps, device), f"--seeds {seeds}"]))
    how = ["--together", together] if together != "auto" else []
    again = command("bench", *where, *said, "--seeds", str(seeds), *length(steps, device), *how, "--out", str(folder))

    def announce(cost: Estimate) -> None:
        say(f"budget: {cost}  ({len(named)} tasks; records in {folder})", "bold")
        for (task, name), reason in cost.refused.items():
            say(f"{name} cannot train {task}, its runs there will fail: {reason}", "yellow")

    try:
        options = {"steps": steps, "jobs": jobs, "device": device, "out": folder, "study_seed": study}
        options["together"] = together
        board = run(named, strategies, seeds, tune=trials, announce=announce, render=render, **options)  # type: ignore[arg-type]
    except KeyboardInterrupt as stop:
        raise Stopped(f"stopped: {stop or 'what is finished is kept'}. Go on with: {again}") from None
    show(board)
    report(board, folder)


def _suite(name: str) -> tuple[str, ...]:
    from steepest.tasks.suites import SUITES

    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    return SUITES[name]
