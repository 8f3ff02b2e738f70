"""How many trials are begun at once: as many as a stack gains from, and as a sampler can do without hearing of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from steepest.fleet.group import FEW, MANY, SHORT, Together
from steepest.tasks.task import Task
from steepest.tune.fidelity import AtRung
from steepest.tune.leg import ENDED, Leg
from steepest.tune.samplers.quasi import Halton, Random, Sobol
from steepest.tune.search import Search
from steepest.tune.share import TIMES, Share

START = 10
"""Trials that samplers which learn spread evenly at first: none of them hears of the others."""
PART, MOST = 4, 16
"""Such a sampler is asked for a quarter as many points at once as have ended, and for so many at most."""
HASTE = 0.25
"""Where the budget is time: the part of what is left that a batch may take, were it trained one by one."""


@dataclass(frozen=True)
class Batch:
    """How many trials one owner begins at a time.

    A stack needs several trials that begin together, and a sampler that learns hears of none of them before all have
    ended. Points that depend on no result (``random``, ``sobol``, ``halton``) lose nothing by that: their batches are
    as large as a stack likes them. A sampler that learns gets batches that grow with what it knows.

    Args:
        together: Whether runs are stacked (:data:`steepest.fleet.group.Together`).
        at_once: Owners that share what is left: the processes of this one.
        apart: Asked of a task: how many of its runs are known to be faster one by one than as a stack.
        most: So many at a time, whatever the sampler; None: as above.
    """

    together: Together = "auto"
    at_once: int = 1
    apart: Callable[[Task], int] = field(default=lambda task: 0, repr=False)
    most: int | None = None

    def count(self, search: Search, task: Task, share: Share) -> int:
        """How many legs of a search are begun now, where its strategies can be stacked."""
        if self.most == 1 or not self._stacked(task):
            return 1
        legs = search.store.legs()
        ended = [leg for leg in legs if leg.status in ENDED]
        count = self.most or (MANY if blind(search.sampler) else self._learning(len(ended)))
        if share.timed:
            if not ended:
                return 1  # nobody knows how long one takes
            usual = sum(leg.seconds for leg in ended) / len(ended)
            until = share.clock.until(TIMES[0] if share.exploring() else TIMES[1])
            count = min(count, int(HASTE * (until - share.clock.now()) / max(usual, 1e-3)))
        work = search.ready(count * self.at_once) + sum(leg.status == "open" for leg in legs)
        count = min(count, max(FEW, math.ceil(work / self.at_once)))  # a fair share of what is being done or can be
        return count if count > max(1, self.apart(task)) else 1

    def _stacked(self, task: Task) -> bool:
        return self.together == "stacked" or (self.together == "auto" and task.steps >= SHORT)

    def _learning(self, ended: int) -> int:
        return max(FEW, -(-START // self.at_once)) if ended < START else max(FEW, min(MOST, ended // PART))

    def together_with(self, first: Leg, leg: Leg, task: Task) -> bool:
        """Whether a leg may go into a stack with the first one: of one length, and that long enough."""
        steps = task.steps if first.steps is None else first.steps
        return (
            leg.steps == first.steps and leg.length == first.length and (self.together == "stacked" or steps >= SHORT)
        )


ONE = Batch(most=1)


def blind(sampler: Any) -> bool:
    """Whether a sampler's points depend on no result.

    >>> from steepest.tune.samplers import sampler
    >>> [name for name in ("random", "sobol", "halton", "tpe", "gp", "auto") if blind(sampler(name))]
    ['random', 'sobol', 'halton']
    """
    return isinstance(sampler.sampler if isinstance(sampler, AtRung) else sampler, (Random, Sobol, Halton))
