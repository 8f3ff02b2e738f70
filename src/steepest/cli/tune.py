"""``steepest tune``: find the settings of one or more strategies on a task, within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steepest.cli.answer import Folder, Jobs, Steps, Together, length, report, show
from steepest.cli.console import Stopped, command, complain, say
from steepest.cli.device import Device
from steepest.core.errors import RecordError
from steepest.core.records import slug

if TYPE_CHECKING:
    from steepest.tune import Tuned


def tune(
    task: Annotated[
        str | None, typer.Argument(help="A task, by name or as my_module:my_task.", show_default=False)
    ] = None,
    strategies: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            "-s",
            help="A strategy or a space, as text; once for each. Without ranges the usual space is searched.",
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Runs (64) or time (5m, 1h30m) for everything, in all.", show_default="64"),
    ] = None,
    sampler: Annotated[str, typer.Option(help="auto, gp, tpe, cmaes, evolution, sobol, halton or random.")] = "auto",
    scheduler: Annotated[
        str, typer.Option(help="How far trials are run: whole; asha, hyperband or bohb, over rungs; or median.")
    ] = "whole",
    climb: Annotated[
        str, typer.Option(help="To the next rung: again, on a complete longer schedule; or on, from a checkpoint.")
    ] = "again",
    against: Annotated[
        str | None,
        typer.Option(
            help="Two objectives: the loss against steps, or seconds; the answer is a front.", show_default=False
        ),
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend/--no-extend", help="Let a range go on where the best point is next to its end.")
    ] = True,
    together: Together = "auto",
    population: Annotated[
        int | None,
        typer.Option(
            min=4, help="Instead: one training of so many members, which copy the best of them.", show_default=False
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="Of the population: pbt, pb2 or mf-pbt.")] = "pbt",
    by_gradient: Annotated[
        bool, typer.Option("--by-gradient", help="Instead: short trainings, and the slope of their loss in the values.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Short trainings, by gradient.")] = 30,
    storage: Annotated[
        str | None,
        typer.Option(help="A file (.journal, .db) or an address (postgresql://...); a journal if not given."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another one tries other points, on other seeds.")] = 0,
    steps: Steps = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    out: Folder = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the study in this folder; a larger budget too.", show_default=False)
    ] = None,
    worker: Annotated[
        bool, typer.Option("--worker", help="Only help with the search of a study that another process leads.")
    ] = False,
) -> None:
    """Find the settings of one or more strategies on a task, and show on fresh seeds what that was worth.

    Every strategy has the same budget: trials, then the best of them again on more seeds, then a final against the
    strategy as it was given. Ctrl-C keeps what is done and says what is best so far; the same command goes on there.
    """
    from steepest.report import render
    from steepest.tune import resumed
    from steepest.tune import tune as run

    way = _on_the_way(resume, population, by_gradient, method, rounds, budget, strategies)
    if resume is not None and (task is not None or strategies or out is not None):
        raise RecordError("--resume takes everything but budget and jobs from the folder: give no task, -s or --out.")
    if resume is None and task is None:
        raise RecordError("say which task: steepest tune digits-mlp -s adamw; or which study: --resume FOLDER.")
    if way is not None:
        _other_way(way, task, strategies, steps, seed, jobs, device, out, resume)
        return
    said = [task or "", *(word for text in strategies or ("adamw",) for word in ("-s", text))]
    more = [*length(steps, device), *(["--sampler", sampler] if sampler != "auto" else [])]
    more += ["--scheduler", scheduler] if scheduler != "whole" else []
    more += ["--climb", climb] if climb != "again" else []
    more += [*(["--against", against] if against else []), *([] if extend else ["--no-extend"])]
    more += [*(["--seed", str(seed)] if seed else []), *(["--storage", storage] if storage else [])]
    folder = resume or out or Path("runs") / slug(" ".join(["tune", *said, *more]))

    def again(budget: str) -> str:
        return command("tune", "--resume", str(folder), "--budget", budget)

    options: dict[str, Any] = {"jobs": jobs, "worker": worker, "render": render, "together": together}
    try:
        if resume is not None:
            found = resumed(folder, budget=budget, **options)
        else:
            options |= {"sampler": sampler, "scheduler": None if scheduler == "whole" else scheduler}
            options |= {"storage": storage, "seed": seed, "steps": steps, "device": device}
            options |= {"climb": climb, "against": against, "extend": extend}
            found = run(task or "", strategies or ["adamw"], budget=budget or "64", out=folder, **options)
    except KeyboardInterrupt as stop:
        raise Stopped(f"stopped; {stop or 'what is finished is kept'}. Go on with: {again(_given(folder))}") from None
    if worker:
        say(f"the search is over; {command('tune', '--resume', str(folder))} shows what it came to")
        return
    show(found)
    report(found, folder)
    _next(found, task, folder, length(*_asked(folder)), again)


def _on_the_way(
    resume: Path | None,
    population: int | None,
    by_gradient: bool,
    method: str,
    rounds: int,
    budget: str | None,
    strategies: list[str] | None,
) -> tuple[str, dict[str, Any]] | None:
    """Whether values are to be found on the way of trainings, and how; None: by a search."""
    if resume is not None and (resume / "on-the-way.json").exists():
        if budget is not None:
            raise RecordError(f"what {resume} costs was said when it began: --budget does not go with it.")
        return "resume", {}
    if population is None and not by_gradient:
        return None
    what = "--population" if population is not None else "--by-gradient"
    if population is not None and by_gradient:
        raise RecordError("--population and --by-gradient are two ways: give one of them.")
    if budget is not None:
        cost = (
            "its members are the budget"
            if population is not None
            else "--rounds says how many short trainings it takes"
        )
        raise RecordError(f"{what} takes no --budget: {cost}.")
    if strategies is not None and len(strategies) > 1:
        raise RecordError(f"{what} takes one strategy; give -s once.")
    return ("population", {"members": population, "method": method}) if population else ("gradient", {"rounds": rounds})


def _other_way(
    way: tuple[str, dict[str, Any]],
    task: str | None,
    strategies: list[str] | None,
    steps: int | None,
    seed: int,
    jobs: int | None,
    device: str,
    out: Path | None,
    resume: Path | None,
) -> None:
    from steepest.cli.on_the_way import Wanted, resumed, search

    how, options = way
    wanted = None if resume is None else resumed(resume, jobs)
    if wanted is None:
        text = (strategies or ["adamw"])[0]
        words = [
            "tune",
            str(task),
            "-s",
            text,
            how,
            *map(str, options.values()),
            *length(steps, device),
            f"--seed {seed}",
        ]
        folder = out or Path("runs") / slug(" ".join(words))
        wanted = Wanted(how, str(task), text, folder, options, steps, seed, jobs, device)
    search(wanted)


def _given(folder: Path) -> str:
    from steepest.core.records import read_json

    return str(read_json(folder / "tune.json")["budget"])


def _asked(folder: Path) -> tuple[int | None, str]:
    """Length and device of a study's runs, as it was asked for when it began."""
    from steepest.core.records import read_json

    there = read_json(folder / "tune.json")
    return there["steps"], there["device"]


def _next(found: Tuned, task: str | None, folder: Path, options: list[str], again: Any) -> None:
    """What to do with the answer."""
    if found.strategy is None:
        complain(f"no trial came to anything; the result.json of each in {folder} says why.")
        raise typer.Exit(1)
    say(f"to paste: {found.strategy}", "bold")
    name = task or found.study.ground.spelling
    if name is not None:
        say(f"next:   {command('train', name, '-s', found.strategy, *options, '--out', 'runs/best')}", "dim")
    say(f"more:   {again(_twice(_given(folder)))}", "dim")


def _twice(budget: str) -> str:
    from steepest.compare.budget import Budget

    given = Budget.read(budget)
    return str(Budget(2 * given.amount, given.unit))
