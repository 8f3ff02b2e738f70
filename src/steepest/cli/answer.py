"""What the verbs that compare share: their options, and how an answer and its report are shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias

import typer

from steepest.cli.console import command, complain, explain, say
from steepest.core.errors import RecordError

Steps: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Length of a run; the task's own if not given.", show_default=False)
]
Jobs: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Runs at a time; one for each core if not given.", show_default=False)
]
Together: TypeAlias = Annotated[
    str, typer.Option(help="Train trials as stacks: auto, where that is faster; stacked; or processes, never.")
]
Folder: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder for the records; the same command goes on in the same folder.", show_default=False),
]


class Answer(Protocol):
    """What has a table to show and a report to write."""

    def table(self, *, show: bool = True) -> str: ...

    def report(self, path: Path) -> Path: ...


def length(steps: int | None, device: str) -> list[str]:
    """The options of a run as words of a command, where they were given."""
    return [*(["--steps", str(steps)] if steps is not None else []), *(["--device", device] if device != "cpu" else [])]


def show(answer: Answer) -> None:
    """The table, in colours on a terminal."""
    if sys.stdout.isatty():
        answer.table()
    else:
        say(answer.table(show=False).rstrip())
    say("")


def report(answer: Answer, folder: Path, first: Callable[[], None] = lambda: None) -> None:
    """Write the report, after what comes first; the answer is there already, so a failure is said and no error."""
    try:
        first()
        say(f"report: {answer.report(folder / 'report.html')}", "bold")
    except (RecordError, OSError, ModuleNotFoundError) as error:
        complain(f"the report was not written ({explain(error)}). Try: {command('report', str(folder))}")


def undecided(summary: Mapping[str, Any]) -> bool:
    """Whether some strategy is not told apart from the best of its task, so that more seeds may say more.

    >>> best, other = {"rank": 1, "against_best": None}, {"rank": 2, "against_best": {"separable": False}}
    >>> undecided({"digits": {"leaderboard": [best, other]}}), undecided({"digits": {"leaderboard": [best]}})
    (True, False)
    """
    rows = [row for task in summary.values() for row in task["leaderboard"][1:] if row["rank"]]
    return any(row["against_best"]["separable"] is not True for row in rows)
