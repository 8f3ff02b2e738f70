"""``steepest tune --population`` and ``--by-gradient``: other ways to find values, proven like everything else.

Both end with an ordinary comparison of what was found with the strategy as it was given, on fresh seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from steepest.cli.answer import report, show
from steepest.cli.console import Stopped, command, complain, say
from steepest.core.errors import RecordError
from steepest.core.records import SCHEMA, plain, read_json, write_json

RECORD, FOUND, FINAL = "on-the-way.json", "search", "final"
SEEDS = 5
"""Of the final."""
SAME = ("how", "task", "strategy", "steps", "seed", "device", "options")


@dataclass(frozen=True)
class Wanted:
    """What the command asks for.

    Args:
        how: ``"population"`` or ``"gradient"``.
        task: The task, as text.
        strategy: The strategy or space, as text.
        folder: For the records.
        options: Of the search.
        steps: Length of a run; None: the task's own.
        seed: Of the search.
        jobs: Runs at a time in the final.
        device: Where to train.
    """

    how: str
    task: str
    strategy: str
    folder: Path
    options: Mapping[str, Any]
    steps: int | None
    seed: int
    jobs: int | None
    device: str

    def record(self) -> dict[str, Any]:
        """Plain data."""
        return {"schema": SCHEMA, "kind": "on the way"} | {name: plain(getattr(self, name)) for name in SAME}


def resumed(folder: Path, jobs: int | None) -> Wanted | None:
    """What the search in a folder was; None where there is none of these."""
    if not (folder / RECORD).exists():
        return None
    there = read_json(folder / RECORD)
    return Wanted(
        there["how"], there["task"], there["strategy"], folder, there["options"], there["steps"], there["seed"], jobs,
        there["device"],
    )  # fmt: skip


def search(wanted: Wanted) -> None:
    """Find values, train them from scratch on fresh seeds beside what was given, and say what came of it."""
    _claim(wanted)
    again = command("tune", "--resume", str(wanted.folder))
    try:
        found, given = (_population if wanted.how == "population" else _gradient)(wanted)
        if str(found) == str(given):
            say(f"nothing better was found than {given}")
            return
        name, by = given.rule.name, "by a population" if wanted.how == "population" else "by gradient"
        board = _final(wanted, {f"{name}, {by}": found, f"{name}, as given": given})
    except KeyboardInterrupt as stop:
        raise Stopped(f"stopped; {stop or 'what is finished is kept'}. Go on with: {again}") from None
    show(board)
    report(board, wanted.folder / FINAL)
    first = board.summary["tasks"][next(iter(board.summary["tasks"]))]["leaderboard"][0]
    if not first["n"]:
        complain("no run of the final finished; see above what went wrong.")
        raise typer.Exit(1)
    best = found if first["label"].endswith(by) else given
    if best is given:
        say("what was found is not better than what was given", "yellow")
    say(f"to paste: {best}", "bold")
    steps = ["--steps", str(wanted.steps)] if wanted.steps else []
    say(f"next:   {command('train', wanted.task, '-s', str(best), *steps, '--out', 'runs/best')}", "dim")


def _claim(wanted: Wanted) -> None:
    """Take a new or empty folder, or check that it holds this very search."""
    path, here = wanted.folder / RECORD, wanted.record()
    if path.exists():
        there = read_json(path)
        other = [name for name in SAME if plain(there.get(name)) != here[name]]
        if other:
            raise RecordError(f"{wanted.folder} holds another search ({', '.join(other)} differ). Give another folder.")
        return
    wanted.folder.mkdir(parents=True, exist_ok=True)
    others = sorted(p.name for p in wanted.folder.iterdir() if not p.name.startswith("."))
    if others:
        raise RecordError(f"{wanted.folder} holds other files ({', '.join(others[:3])}). Give a new or empty folder.")
    write_json(path, here)


def _population(wanted: Wanted) -> tuple[Any, Any]:
    from steepest.tune import population
    from steepest.tune.course import names
    from steepest.tune.reach import reachable

    searched, given = reachable(wanted.strategy, names)
    say(f"searching {searched}", "dim")

    def told(record: dict[str, Any]) -> None:
        known = [v for v in record["values"] if v < float("inf")]
        middle = f"best {min(known):.4g}, median {statistics.median(known):.4g}" if known else "no member is left"
        lost = len(record["values"]) - len(known)
        copies = len({heir[0] for heir in record["heirs"]})
        say(f"step {record['step']}: {middle}" + f", {lost} diverged" * bool(lost) + f"; {copies} go on as copies")

    found = population(
        wanted.task, searched, steps=wanted.steps, seed=wanted.seed, out=wanted.folder / FOUND, resume=True,
        device=wanted.device, on_generation=told, **wanted.options,
    )  # fmt: skip
    if not found.finished:
        raise KeyboardInterrupt(f"at step {found.generations[-1]['step']} of {found.steps}")
    say(f"the search cost {found.charge:.3g} whole runs; its best member ended at {found.value:.4g}")
    return found.strategy, given


def _gradient(wanted: Wanted) -> tuple[Any, Any]:
    from steepest.tune import by_gradient
    from steepest.tune.gradient import searchable
    from steepest.tune.reach import reachable

    searched, given = reachable(wanted.strategy, searchable)
    say(f"searching {searched}", "dim")
    history: list[dict[str, Any]] = []

    def told(record: dict[str, Any]) -> None:
        history.append(record)
        values = ", ".join(f"{path.rpartition('.')[2]}={value:.4g}" for path, value in record["point"].items())
        say(f"round {len(history)}: loss {record['loss']:.4g}{' *' if record['better'] else ''}  {values}")

    from steepest.strategy.dimension import SpaceError

    try:
        start = searched.complete(_values(searched, given))
    except SpaceError:
        start = None
    found = by_gradient(wanted.task, searched, seed=wanted.seed, start=start, on_round=told, **wanted.options)
    write_json(wanted.folder / "by-gradient.json", {"space": str(searched), "history": plain(found.history)})
    return found.strategy, given


def _values(searched: Any, given: Any) -> dict[str, Any]:
    from steepest.tune.arms import first_point

    return first_point(searched, given)


def _final(wanted: Wanted, strategies: Mapping[str, Any]) -> Any:
    from steepest.compare import compare
    from steepest.report import render

    return compare(
        wanted.task, strategies, SEEDS, out=wanted.folder / FINAL, jobs=wanted.jobs, steps=wanted.steps,
        device=wanted.device, render=render,
    )  # fmt: skip
