"""Population-based training: values that change while training, found by members that copy the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from steepest.core.errors import SteepestError, did_you_mean
from steepest.core.records import load_checkpoint, lock, refuse_other, save_checkpoint, write_json
from steepest.fleet import Fleet, Member
from steepest.strategy.dimension import Choice, SpaceError
from steepest.strategy.space import Space
from steepest.strategy.space import space as make_space
from steepest.strategy.value import Strategy
from steepest.tasks.registry import load
from steepest.tasks.task import Task
from steepest.tune.course import Course, names, steered
from steepest.tune.evolve import ranked
from steepest.tune.generations import Generations
from steepest.tune.replay import Replay, replayed

Method = Literal["pbt", "pb2", "mf-pbt"]
RECORD = "population.json"
FIRST_SEED = 1_000_000
"""Of the search; final runs have small seeds, which no search has seen."""


@dataclass(frozen=True)
class Population:
    """What population-based training found: a schedule of every searched value.

    It is the luckiest of many on one seed. Nothing says that it is better than the defaults before :meth:`replay`.
    """

    task: Task | str
    space: Space
    value: float
    """The metric of the best member at the end, on the seed of the search."""
    course: Course
    """Of the best member, from the start of its line on: what its weights were trained with."""
    generations: list[dict[str, Any]] = field(repr=False)
    """For each: ``step``, and for each member ``values``, ``points`` and ``heirs`` (who took over from whom)."""
    steps: int
    charge: float
    """Whole runs' worth of steps that it cost."""
    finished: bool = True
    """False where it was interrupted; the same call with ``resume=True`` goes on."""

    @property
    def strategy(self) -> Strategy:
        """The strategy to replay: each value starts as the member's line did, and a schedule moves it."""
        return steered(self.space, self.course)

    def replay(self, seeds: int | Sequence[int] = 5, *, against: Any = None, **options: Any) -> Replay:
        """Train the schedule from scratch on fresh seeds, beside the space's defaults, and compare seed by seed.

        Args:
            seeds: How many, or which.
            against: What to compare with; None: the defaults of the pieces.
            options: For the :class:`~steepest.fleet.Fleet` that trains them.
        """
        return replayed(self.task, self.strategy, self.space, seeds, against, steps=self.steps, **options)


def population(
    task: Task | str,
    space: Space | Strategy | str,
    *,
    members: int = 16,
    every: int | None = None,
    method: Method = "pbt",
    paces: Sequence[int] = (1, 4),
    quantile: float = 0.2,
    resample: float = 0.0,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    on_generation: Callable[[dict[str, Any]], None] | None = None,
) -> Population:
    """Search schedules of a strategy's values in the course of one training of many members.

    All members train in one stack. Every so many steps they are ranked on the validation split; the worst take over
    weights and optimizer state of the best, and go on with changed values. The members have one seed, so at first they
    differ in values alone.

    Args:
        task: What is trained.
        space: Which values are searched: numbers of the rule, of gradient pieces and wrappers. Schedules of the space
            stay, and what is found multiplies them.
        members: How many.
        every: Steps in a generation; None: a tenth of the run.
        method: ``"pbt"``: values are multiplied by 1.2 or 0.8; ``"pb2"``: a Gaussian process chooses
            them, for small populations; ``"mf-pbt"``: several populations at several paces, which is less greedy.
        paces: For ``"mf-pbt"``: each population's, in generations. The members are dealt evenly to them, in fours.
        quantile: For ``"pbt"`` and ``"pb2"``: the share that takes over, and the share that is taken over from.
        resample: How often a value is drawn anew from its whole range instead of changed a little. With three values
            and 0.25, as Ray Tune and syne-tune have it, more than half of the copies jump somewhere and are lost.
        steps: Length of the run; None: the task's own.
        seed: Of the search. The same arguments give the same result.
        out: Folder for what happened.
        resume: Go on from the last generation in the folder; the result is the same, whenever it was killed.
        device: Where to train, as torch names it.
        threads: How many torch computes with; None: as many as it is set to.
        on_generation: Called with each generation's record.

    Source: arXiv:1711.09846 (PBT), arXiv:2002.02518 (PB2), arXiv:2506.03225 (MF-PBT).

    Example:
        >>> found = population("quadratic", "sgd(lr=log(1e-3, 1))", members=4, steps=40)
        >>> found.strategy.rule.name, len(found.generations)
        ('sgd', 10)
    """
    searched = make_space(space)
    names(searched)
    loaded = load(task)
    length = steps or loaded.steps
    interval = every or max(1, length // 10)
    _check(searched, members, interval, length, method, paces, quantile, resample)
    about = {
        "task": loaded.name, "space": str(searched), "members": members, "every": interval, "method": method,
        "paces": list(paces), "quantile": quantile, "resample": resample, "steps": length, "seed": seed,
    }  # fmt: skip
    search = Generations(searched, method, tuple(paces), quantile, resample, seed)
    folder = Path(out) if out is not None else None
    with ExitStack() as stack:
        saved: dict[str, Any] | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock(folder))
            saved = _saved(folder, about, resume, device)
        fleet = Fleet(
            task,
            [Member(steered(searched, c, based=False), FIRST_SEED + seed) for c in search.start(members)],
            steps=length,
            eval_every=interval,
            device=device,
            threads=threads,
        )
        live = stack.enter_context(fleet)
        if saved is not None:
            search.restore(saved, live)
        for step in range(search.at + interval, length + interval, interval):
            whole = live.train(until=min(step, length))
            if not whole:
                break
            record = search.measured(min(step, length), live)
            if step < length:
                search.evolve(record, live)
            if folder is not None:
                save_checkpoint(folder, {"about": about, **search.state(live)})
                write_json(folder / RECORD, {**about, "generations": search.generations})
            if on_generation is not None:
                on_generation(record)
    return _result(search, task, length)


def _result(search: Generations, task: Task | str, length: int) -> Population:
    if not search.generations:
        raise SteepestError("the search was interrupted before its first generation: there is no result yet.")
    last = search.generations[-1]
    best = ranked(last["values"])[0]
    if not math.isfinite(last["values"][best]):
        raise SteepestError("every member of the population has diverged. Search smaller learning rates.")
    sign = 1.0 if load(task).goal == "min" else -1.0
    return Population(
        task, search.space, sign * last["values"][best], search.scored[best], search.generations, length,
        len(last["values"]) * last["step"] / length, last["step"] >= length,
    )  # fmt: skip


def _saved(folder: Path, about: dict[str, Any], resume: bool, device: str) -> dict[str, Any] | None:
    saved, _ = load_checkpoint(folder, device)
    if saved is None:
        return None
    refuse_other(folder, saved["about"], about, tuple(about))
    if not resume:
        raise SteepestError(f"{folder} holds this very search. Go on with resume=True, or give another folder.")
    return saved


def _check(
    space: Space, members: int, interval: int, length: int, method: str, paces: Sequence[int], quantile: float,
    resample: float,
) -> None:  # fmt: skip
    if method not in get_args(Method):
        raise SteepestError(f"no method {method!r}. {did_you_mean(method, get_args(Method))}")
    if not len(space):
        raise SpaceError(f"{space} has no range in it. Write one: sgd(lr=log(1e-3, 1)).")
    if members < 4:
        raise SteepestError(f"a population has at least 4 members; given members={members!r}.")
    if not 1 <= interval < length:
        raise SteepestError(f"every={interval} must be at least 1 step and shorter than the run, {length} steps.")
    if not 0 < quantile <= 0.5 or not 0 <= resample <= 1:
        raise SteepestError(f"quantile lies in (0, 0.5] and resample in [0, 1]; given {quantile!r} and {resample!r}.")
    if method == "pb2" and any(isinstance(d, Choice) for d in space.dimensions.values()):
        raise SpaceError('method="pb2" searches ranges; a choice needs method="pbt".')
    if method == "mf-pbt" and (
        any(p < 1 for p in paces) or list(paces) != sorted(set(paces)) or members % (4 * len(paces))
    ):
        raise SteepestError(
            f"mf-pbt deals its members evenly to populations of fours: members={members!r} and paces={tuple(paces)} do "
            f"not fit. Give paces that grow, such as (1, 4), and a multiple of {4 * max(1, len(paces))} members."
        )
