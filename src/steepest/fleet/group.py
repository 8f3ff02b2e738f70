"""The one door to fleets for whoever has many runs to make and processes of its own: a comparison, a search.

:func:`groups` says which runs may go together; :func:`train_group` trains such a group in the process that it is called
in: as a stack where that is measured to be faster, else not at all, and the caller trains them one by one. Every
run keeps its own folder, records and checkpoints either way, so one that was begun in a group can go on alone.

Nothing is measured on copies but a few steps of one run: a stack is begun as if it were to stay, and given up, as if it
had been killed, where its first steps are too slow.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from steepest.fit.plan import Plan
from steepest.fit.run import Run
from steepest.fit.state import own_random_states
from steepest.fleet.choice import ROUNDS, WARM, Choice, rate_alone
from steepest.fleet.obstacle import obstacle, unfed
from steepest.fleet.stacked import Stacked
from steepest.tasks.task import Task

Together = Literal["auto", "stacked", "processes"]
"""``"auto"``: runs are stacked where that is faster; ``"stacked"``: wherever it can be done; ``"processes"``: never."""

FEW, MANY = 4, 32
"""Members of a group: fewer gain little, more do not fit into a cache."""
SHORT = 160
"""Runs of fewer steps go alone: finding out what is faster would take too large a part of them."""
WORTH = 2.0
"""Seconds that a group would take one by one, below which it is trained so without more ado."""
NUMBERS = 8_000_000
"""Parameters of all models of a group: large models gain nothing and need much memory."""


def groups(runs: Sequence[tuple[Task, Any]], at_once: int, together: Together = "auto") -> list[list[int]]:
    """Which runs, given as task and strategy, may be trained together: lists of their places, those of groups first.

    >>> from steepest.strategy.text import parse
    >>> from steepest.tasks.registry import load
    >>> runs = [(load("digits-mlp"), parse(f"{rule}(lr=0.01)")) for rule in ("sgd", "sophia", "adamw") * 4]
    >>> groups(runs, at_once=2)
    [[2, 5, 8, 11], [0, 3, 6, 9], [1], [4], [7], [10]]
    """
    found: list[list[int]] = []
    alike: dict[Any, list[tuple[Any, int]]] = {}
    known: dict[Any, bool] = {}
    for place, (task, strategy) in enumerate(runs if together != "processes" else ()):
        if together == "auto" and task.steps < SHORT:
            continue
        kind = tuple(piece.name for piece in strategy) if hasattr(strategy, "pieces") else None
        if kind is None:
            continue
        key = (task.name, task.steps, task.batch_size)
        if (key, kind) not in known:
            known[key, kind] = stackable(task, strategy)
        if known[key, kind]:
            alike.setdefault(key, []).append((kind, place))
    for members in alike.values():
        task = runs[members[0][1]][0]
        places = [place for _, place in sorted(members)]  # those that step alike stand side by side
        most = min(MANY, NUMBERS // max(1, task.parameters()))
        if most < FEW:
            continue
        count = at_once * -(-len(places) // (at_once * most))
        cuts = [len(places) * i // count for i in range(count + 1)]
        parts = [places[a:b] for a, b in itertools.pairwise(cuts)]
        found += [part for part in parts if len(part) >= FEW]
    taken = {place for part in found for place in part}
    return [*found, *([place] for place in range(len(runs)) if place not in taken)]


def stackable(task: Task, strategy: Any) -> bool:
    """Whether a stack could train such a strategy at all."""
    try:
        if obstacle([Plan(task, strategy)]) is not None:
            return False
        optimizer = strategy.optimizer(task.build(0), steps=task.steps, steps_per_epoch=task.steps_per_epoch)
    except Exception:  # whatever it is, alone it shows
        return False
    return unfed(0, optimizer) is None


def train_group(
    plans: Sequence[Plan],
    folders: Sequence[Path | None],
    *,
    together: Together = "auto",
    threads: int | None = 1,
    on_step: Callable[[Stacked], None] = lambda _: None,
    on_end: Callable[[int, Run], None] = lambda *_: None,
) -> Choice:
    """Train runs as one stack in this process, from their last checkpoints, where that is faster than one by one.

    Args:
        plans: The runs, of one task.
        folders: Where each keeps its records (the caller's already); None: nowhere.
        together: ``"stacked"``: without measuring.
        threads: How many torch computes with.
        on_step: Called after each step of the stack.
        on_end: Called with the place and the outcome of a run as soon as it has ended.

    Returns:
        What was chosen; unless it is ``"stacked"``, the folders are as they were, or as a killed run leaves them.
    """
    if together == "processes" or (reason := obstacle(plans)) is not None:
        return Choice("sequential", "asked for" if together == "processes" else str(reason), {})
    trial = None
    if together == "auto":
        clock = time.process_time if plans[0].device == "cpu" and threads == 1 else time.perf_counter
        with own_random_states():
            alone = rate_alone(plans[0], clock)
        seconds = sum(plan.task.steps for plan in plans) / alone
        if seconds < WORTH:
            return Choice("sequential", f"{seconds:.1f} s one by one", {"sequential": alone})
        trial = Trial(alone, clock)

    def step(live: Stacked) -> None:
        on_step(live)
        if trial is not None:
            trial.see(live)

    try:
        with Stacked(plans, folders, threads) as live:
            live.train(on_step=step, on_end=on_end)
    except TooSlow:
        assert trial is not None
        return Choice("sequential", "measured", trial.rates)
    return Choice("stacked", "measured" if trial else "asked for", trial.rates if trial else {})


class TooSlow(Exception):
    """A stack whose members would train faster one by one."""


class Trial:
    """The first steps of a stack, held against the rate of one run alone."""

    def __init__(self, alone: float, clock: Callable[[], float]) -> None:
        self.rates = {"sequential": alone}
        self.clock = clock
        self.steps, self.taken, self.begin = 0, 0, 0.0

    def see(self, live: Stacked) -> None:
        """After each step; those in which a pass is found out and written down do not count."""
        self.steps += 1
        if self.steps == WARM:
            self.begin = self.clock()
        elif WARM < self.steps <= WARM + ROUNDS:
            self.taken += len(live.active)
            if self.steps == WARM + ROUNDS:
                self.rates["stacked"] = self.taken / max(1e-9, self.clock() - self.begin)
                if self.rates["stacked"] < self.rates["sequential"]:
                    raise TooSlow
