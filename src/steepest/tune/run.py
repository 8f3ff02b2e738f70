"""Tune strategies on a task: search, race, and a final on fresh seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from steepest.compare.board import Board, Render
from steepest.compare.budget import Budget
from steepest.compare.check import check
from steepest.compare.plan import Candidate, Comparison, ComparisonError, ground_of
from steepest.compare.pool import Pool
from steepest.core.device import usable
from steepest.core.errors import RecordError, did_you_mean
from steepest.core.records import (
    SCHEMA,
    cores,
    lock,
    plain,
    provenance,
    read_json,
    refuse_other,
    sweep,
)
from steepest.fit.watching import MONITOR, watching
from steepest.fleet.group import Together
from steepest.tasks.task import Task
from steepest.tune.arms import arms
from steepest.tune.fidelity import Climb
from steepest.tune.front import Against, checked
from steepest.tune.result import Tuned, words
from steepest.tune.scheduler import Scheduler
from steepest.tune.share import divided
from steepest.tune.storage import storage as storages
from steepest.tune.study import Study
from steepest.tune.tuning import TUNE, Tuning, best_words

JOURNAL = "study.journal"
SAME = ("kind", "task", "strategies", "sampler", "scheduler", "climb", "against", "seed", "device", "storage")


def budget_of(given: Any) -> Budget:
    """A number is a number of runs; text is read as everywhere (``"10m"``, ``"64 runs"``).

    >>> print(budget_of(64), budget_of("64"), budget_of("90s"))
    64 runs 64 runs 1m30s
    """
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return Budget(float(given), "runs")
    if isinstance(given, str) and given.strip().isdigit() and int(given):
        return Budget(float(given), "runs")
    if isinstance(given, float):
        raise ComparisonError(f"a budget is a number of runs (64) or a time ('10m'); given {given!r}.")
    return Budget.read(given)


def tune(
    task: Task | str,
    strategies: Any = "adamw",
    *,
    budget: int | str = 64,
    sampler: Any = "auto",
    scheduler: str | Scheduler | None = None,
    climb: Climb = "again",
    storage: Any = None,
    seed: int = 0,
    out: str | Path | None = None,
    jobs: int | None = None,
    steps: int | None = None,
    device: str = "cpu",
    progress: bool = True,
    render: Render | None = None,
    monitor: str = MONITOR,
    final: bool = True,
    worker: bool = False,
    together: Together = "auto",
    batch: int | None = None,
    extend: bool = True,
    against: Against | None = None,
) -> Tuned:
    """Find the settings of one or more strategies on a task, and show on fresh seeds what that was worth.

    Every strategy is an arm with the same budget of gradients. Its first trial is what was given; a sampler proposes
    the others. Trials differ by their settings alone: all have the same seed. The best ones then race on more seeds,
    paired. In the final each arm's choice meets the strategy as it was given on seeds that nothing was chosen by.
    The test split is not there in trials, and is read once at the end of each run of the final.

    Args:
        task: A task or its name.
        strategies: Strategies or spaces, texts or values; ``{label: strategy}`` names them. Without ranges the usual
            space around a strategy is searched (:func:`~steepest.strategy.usual.default_space`).
        budget: Runs (64) or time (``"10m"``) for everything, the final included; a total: the same call with the same
            folder does nothing more, with a larger budget it goes on.
        sampler: ``"auto"``, ``"gp"``, ``"tpe"``, ``"cmaes"``, ``"evolution"``, ``"sobol"``, ``"halton"``,
            ``"random"``, or an object that can be asked.
        scheduler: How far trials are run: ``"whole"``; ``"asha"``, ``"hyperband"`` or ``"bohb"``, over rungs;
            ``"median"``, to the end unless the others were better by then; or an object of
            :mod:`steepest.tune.fidelity`. None: each one to its end.
        climb: How a trial gets to its next rung: ``"again"``, a complete schedule of the new length from scratch; or
            ``"on"``, from its checkpoint under the schedule of the full length.
        storage: Where the trials are kept (:func:`steepest.tune.storage.storage`); None: a journal file in ``out``.
        seed: Another one tries other points, on other seeds.
        out: Folder for the records; None: one that lasts as long as the answer.
        jobs: Runs at a time; None: one for each core.
        steps: Length of a run; None: the task's own.
        device: Where to train, as torch names it.
        progress: Show what is going on.
        render: What :meth:`Tuned.report` calls with the folder and the path of the page.
        monitor: What is measured beside the losses in the final.
        final: Whether there is one; without it the whole budget is searched and raced with.
        worker: Only help with the search of a study that another process leads.
        together: Whether trials of one strategy are trained as a stack: ``"auto"`` where that is faster, ``"stacked"``
            wherever it can be done, ``"processes"`` never (:mod:`steepest.fleet.group`).
        batch: How many trials are begun at once for a stack; None: as many as the sampler can do without hearing of
            (:class:`~steepest.tune.batch.Batch`). 1: one by one.
        extend: Whether a range goes on, by a third and twice at most, where the best point so far lies within a tenth
            of its end. Every arm has that, and pays for it.
        against: ``"steps"`` or ``"seconds"``: two objectives, the loss and what the training costs. Each trial then has
            a length of its own, and the answer is a front (:attr:`Tuned.front`); there is no final.

    Raises:
        BudgetError: The budget is too small; the error says what the smallest is.
        RecordError: The folder holds something else, or another process leads this study.
        KeyboardInterrupt: After Ctrl-C, with the best so far; the same call goes on there.
    """
    spend = budget_of(budget)
    if jobs is not None and jobs < 1:
        raise ComparisonError(f"jobs must be at least 1; given {jobs!r}.")
    if batch is not None and batch < 1:
        raise ComparisonError(f"batch must be at least 1; given {batch!r}.")
    if together not in get_args(Together):
        raise ComparisonError(f"no way {together!r} to train trials. {did_you_mean(together, get_args(Together))}")
    checked(against, scheduler)
    final = final and against is None
    watching(monitor)
    ground = ground_of(task, steps)
    competing = arms(strategies)
    folder, keep = Board.place(out)
    record = {
        "schema": SCHEMA,
        "kind": "tuning",
        "task": ground.task.record(),
        "spelling": ground.spelling,
        "steps": steps,
        "strategies": [arm.record() for arm in competing],
        "sources": sources(strategies),
        "sampler": sampler if isinstance(sampler, str) else repr(sampler),
        "scheduler": scheduler if scheduler is None or isinstance(scheduler, str) else repr(scheduler),
        "climb": None if climb == "again" else climb,
        "seed": seed,
        "device": usable(device),
        "storage": None if storage is None else str(storage),
        "final": final,
        "extend": extend,
        "against": against,
    }
    fresh = not (folder / TUNE).exists()
    if device == "cpu" and fresh:
        check(ground.task)

    def begin() -> Tuning:
        _claim(folder, record)
        there = read_json(folder / TUNE) if (folder / TUNE).exists() else {}
        before = float(there.get("spent") or 0.0)
        share = divided(spend, [arm.gradients for arm in competing], before, final)
        where = folder / JOURNAL if storage is None and out is not None else storage
        name = f"{ground.task.name} {folder.name}" if storage is not None else ground.task.name
        study = Study(
            folder, ground, competing, share, storages(where), name, sampler, scheduler, seed, climb, extend, against
        )
        whole = {**record, **({} if there else provenance()), **there}
        at_once = jobs or cores()
        return Tuning(folder, study, share, whole, at_once, record["device"], progress, together, batch)

    every = tuple(Candidate(arm.label, arm.space.base, True) for arm in competing)
    whole = Comparison((ground,), every, (0,), record["device"], "off")
    if worker:
        made = begin()
        with Pool(whole, folder) as pool:
            made.search(pool)
        return Tuned.of(made.study, None, "", folder, render, keep)
    with lock(folder) as held:
        sweep(folder)
        made = begin()
        made.save()
        with Pool(whole, folder, () if held is None else (held,)) as pool:
            if not made.search(pool):
                made.study.save()
                raise KeyboardInterrupt(f"best so far: {best_words(made.study)} ({folder})")
            found = made.final(pool, ground, monitor)
        board = None
        if found is not None:
            board = Board(folder, render=render, keep=keep)
            board.save()
        strategy, said = words(made.study, board)
        made.study.save()
        made.save({"strategy": strategy, "verdict": said, "seeds": 0 if found is None else len(found.seeds)})
    return Tuned.of(made.study, board, said, folder, render, keep, strategy)


def resumed(folder: str | Path, **changes: Any) -> Tuned:
    """Go on with the study in a folder as its ``tune.json`` describes it; ``changes`` are arguments of :func:`tune`."""
    there = read_json(Path(folder) / TUNE)
    if there.get("kind") != "tuning":
        raise RecordError(f"{folder} holds no study.")
    if there["spelling"] is None and "task" not in changes:
        raise RecordError(
            f"the study in {folder} is of task {there['task']['name']!r}, which was made in a script and has no name. "
            "Call tune(task, ..., out=folder) with it again."
        )
    options = {name: there[name] for name in ("sampler", "seed", "device", "storage", "steps", "final", "budget")}
    options |= {"extend": there.get("extend", True), "against": there.get("against")}
    options |= {"scheduler": there.get("scheduler"), "climb": there.get("climb") or "again"}
    options |= {k: v for k, v in changes.items() if v is not None}
    made: Callable[..., Tuned] = tune
    return made(options.pop("task", there["spelling"]), there["sources"], out=folder, **options)


def sources(strategies: Any) -> Any:
    """Strategies as they were given, as plain data."""
    if isinstance(strategies, Mapping):
        return {str(name): str(given) for name, given in strategies.items()}
    if isinstance(strategies, str) or not isinstance(strategies, Sequence):
        return [str(strategies)]
    return [str(given) for given in strategies]


def _claim(folder: Path, record: Mapping[str, Any]) -> None:
    """Take a new or empty folder, or check that it holds this very study; the budget may be another one."""
    if (folder / TUNE).exists():
        there = read_json(folder / TUNE)
        refuse_other(folder, {k: there.get(k) for k in SAME}, {k: plain(record[k]) for k in SAME}, SAME)
        return
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    if others:
        raise RecordError(f"{folder} holds other files ({', '.join(others[:3])}). Give a new or empty folder.")
