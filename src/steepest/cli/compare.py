"""``steepest compare``: strategies x tasks x seeds; a leaderboard, the verdict in words, and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from steepest.cli.answer import Folder, Jobs, Steps, length, report, show, undecided
from steepest.cli.begun import From, begun
from steepest.cli.console import Stopped, command, complain, say
from steepest.cli.device import Device
from steepest.cli.monitored import Monitored
from steepest.core.records import slug


def compare(
    tasks: Annotated[
        list[str],
        typer.Argument(help="Tasks, by name or as my_module:my_task.", metavar="TASK", show_default=False),
    ],
    strategies: Annotated[
        list[str],
        typer.Option(
            "--strategy", "-s", help="A strategy, as text; once for each.", metavar="TEXT", show_default=False
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each strategy on each task.")] = 5,
    steps: Steps = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    monitor: Monitored = "economy",
    start: From = None,
    out: Folder = None,
) -> None:
    """Compare strategies: the same initialisation and data order for each, several seeds, paired intervals.

    Validation chooses; the test split is touched once. A second call with the same folder only does what is missing.
    """
    from steepest.compare import compare as run
    from steepest.report import render

    strategies = [begun(text, start) for text in strategies]
    said = [*tasks, *(word for text in strategies for word in ("-s", text))]
    more = [] if monitor == "economy" else ["--monitor", monitor]
    folder = out or Path("runs") / slug(" ".join([*said, *length(steps, device), f"--seeds {seeds}"]))

    def again(seeds: int) -> str:
        return command("compare", *said, "--seeds", str(seeds), *length(steps, device), *more, "--out", str(folder))

    try:
        options = {"steps": steps, "jobs": jobs, "device": device, "out": folder, "monitor": monitor}
        board = run(tasks, strategies, seeds, render=render, **options)  # type: ignore[arg-type]
    except KeyboardInterrupt as stop:
        raise Stopped(f"stopped: {stop or 'what is finished is kept'}. Go on with: {again(seeds)}") from None

    show(board)
    report(board, folder, first=lambda: _examine(folder))
    say(f"next:   {_next(board.summary['tasks'], tasks, again(2 * seeds))}", "dim")
    failed = sum(row["failed"] for task in board.summary["tasks"].values() for row in task["leaderboard"])
    if failed:
        complain(
            f"{failed} run{'s' if failed > 1 else ''} failed; the report and the result.json of each say why. "
            f"To try again: {again(seeds)}"
        )
        raise typer.Exit(1)


def _examine(folder: Path) -> None:
    """How many strategies the doctor has something against; the report says what."""
    from steepest.doctor import diagnose
    from steepest.doctor.diagnose import grouped

    groups = grouped(diagnose(folder))
    bad = [f"{label!r} on {task}" for (task, label), runs in groups.items() if any(d.alarms for d in runs)]
    if bad:
        rest = f" and {len(bad) - 2} more" if len(bad) > 2 else ""
        say(f"doctor: something stands out in {', '.join(bad[:2])}{rest} ({command('doctor', str(folder))})", "yellow")


def _next(summary: Mapping[str, Any], tasks: Sequence[str], more: str) -> str:
    """What to do with this outcome: more seeds where they may decide, else the best strategy of the first task."""
    boards = [task["leaderboard"] for task in summary.values()]
    if not boards[0][0]["n"]:
        return "no run of the first task finished; lower the learning rate, or see above what went wrong"
    if undecided(summary):
        return f"more seeds may separate them; only the new ones are run:\n        {more}"
    return command("train", tasks[0], "-s", boards[0][0]["label"], "--out", "runs/best")
