"""Strategies against each other, on the same tasks with the same luck."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steepest.compare.bench import bench
from steepest.compare.board import Board, Render
from steepest.compare.check import check
from steepest.compare.display import display
from steepest.compare.estimate import Estimate
from steepest.compare.plan import Comparison, ComparisonError, arrange, ended, refuse_other_comparison
from steepest.compare.pool import Pool
from steepest.compare.scoring import STUDY, TRIALS
from steepest.core.errors import RecordError
from steepest.core.records import (
    EXPERIMENT,
    FINDINGS,
    RUN,
    SUMMARY,
    cores,
    lock,
    read_json,
    read_run,
    refuse_other,
    sweep,
    write_json,
)
from steepest.fit.plan import SAME, Plan
from steepest.fit.watching import MONITOR
from steepest.strategy.value import Strategy
from steepest.tasks.task import Task

DAMAGED_EXPERIMENT = "experiment.damaged.json"
OWN = (EXPERIMENT, DAMAGED_EXPERIMENT, SUMMARY, FINDINGS, STUDY, TRIALS, "runs", "logs", "report.html")
"""What a comparison leaves in its folder."""


def compare(
    tasks: Task | str | Sequence[Task | str],
    strategies: Strategy | str | Sequence[Any] | Mapping[str, Any],
    seeds: int | Sequence[int] = 5,
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    steps: int | None = None,
    device: str = "cpu",
    progress: bool = True,
    render: Render | None = None,
    monitor: str = MONITOR,
    tune: int | None = None,
    study_seed: int = 0,
    announce: Callable[[Estimate], None] = lambda _: None,
) -> Board:
    """Run every strategy on every task with every seed, and say which is best and whether that is more than luck.

    A seed means the same initialisation, data order and dropout for every strategy. The validation split decides; the
    test split is looked at once, at the end of each run. Runs go in parallel processes of one thread each.

    Args:
        tasks: A task, its name, or several.
        strategies: Strategies, texts or recipes; ``{label: strategy}`` names them. Also any object with
            ``optimizer(model, steps=..., steps_per_epoch=...)``.
        seeds: How many seeds, or which. With fewer than 3 nothing is called separable.
        out: Folder for the records. A second call with the same arguments and folder runs only what is missing; more
            seeds may be added. None: a folder that lasts as long as the board.
        jobs: Runs at a time; None: one for each core.
        steps: Length of every run; None: each task's own.
        device: Where to train, as torch names it.
        progress: Show a live table on a terminal, or a line for each run elsewhere.
        render: What :meth:`Board.report` calls with the folder and the path of the page.
        monitor: What is measured beside the losses, in every run: ``"off"``, ``"economy"``, ``"normal"`` or ``"full"``.
        tune: Trials for each strategy on each task, with an equal budget of gradients. Each strategy then stands in the
            comparison tuned and as it is given, beside a random search over all of them with twice the trials; a
            strategy may be a space, else the usual one around it is searched
            (:func:`~steepest.strategy.usual.default_space`). None: strategies are compared as they are.
        study_seed: Another one searches other points with other seeds: how much does the search itself vary?
        announce: Told what a tuned comparison will cost before it begins.

    Raises:
        RecordError: The folder holds another experiment, or another process works there.
        KeyboardInterrupt: After Ctrl-C, when all running runs have written a checkpoint; the same call goes on there.
    """
    if jobs is not None and jobs < 1:
        raise ComparisonError(f"jobs must be at least 1; given {jobs!r}.")
    if tune is not None:
        shared = {"out": out, "jobs": jobs, "steps": steps, "device": device, "progress": progress, "render": render}
        more = {"monitor": monitor, "study_seed": study_seed, "announce": announce}
        return bench(tasks, strategies, tune, seeds, claim=_claim, **shared, **more)  # type: ignore[arg-type]
    comparison = arrange(tasks, strategies, seeds, steps, device, monitor)
    folder, keep = (Path(out), None) if out is not None else Board.temporary()
    if folder.exists() and not folder.is_dir():
        raise RecordError(f"{folder} is a file. Give a folder.")
    for ground in comparison.grounds if device == "cpu" and not (folder / EXPERIMENT).exists() else ():
        check(ground.task)
    with lock(folder) as held:
        sweep(folder)
        _claim(folder, comparison)
        runs = comparison.jobs(folder)
        done = [job for job in runs if ended(job)]
        there = {job.key for job in done}
        missing = [job for job in runs if job.key not in there]
        with display(progress, comparison, runs, done) as audience:
            pool = Pool(comparison, folder, audience, () if held is None else (held,))
            completed = pool.run(missing, min(jobs or cores(), max(1, len(missing))))
        board = Board(folder, render=render, keep=keep)
        board.save()
    if not completed:
        count = sum(ended(job) for job in runs)
        raise KeyboardInterrupt(f"{count} of {len(runs)} runs are done; the same call goes on from there ({folder})")
    return board


def _claim(folder: Path, comparison: Comparison) -> None:
    """Take a new or empty folder for this comparison, or check that it holds this very comparison."""
    here, path = comparison.record(), folder / EXPERIMENT
    there = _experiment(path)
    if there is not None:
        refuse_other_comparison(folder, there, here)
        if there["seeds"] != here["seeds"]:
            write_json(path, {**there, "seeds": sorted({*there["seeds"], *here["seeds"]})})
        return
    others = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    if strange := [name for name in others if name not in OWN or not {"runs", TRIALS} & {*others}]:
        raise RecordError(f"{folder} holds other files ({', '.join(strange[:3])}). Give a new or empty folder.")
    alone = comparison.jobs(folder) if comparison.protocol is None else []  # arms are no strategies
    for job in alone:  # what experiment.json would have said, each run says of itself
        if (job.folder / RUN).exists():
            plan = Plan(job.ground.task, job.candidate.strategy, job.seed, job.candidate.label, comparison.device)
            refuse_other(job.folder, read_run(job.folder), plan.record(), SAME)
    write_json(path, here)


def _experiment(path: Path) -> dict[str, Any] | None:
    """What a folder says of itself; None where the file is missing or, with a warning, damaged."""
    if not path.exists():
        return None
    try:
        return read_json(path)
    except RecordError as error:
        warnings.warn(f"{error.args[0].partition('. ')[0]}. It is made again; the runs are kept.", stacklevel=4)
        path.rename(path.with_name(DAMAGED_EXPERIMENT))
        return None
