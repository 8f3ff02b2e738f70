"""A study while it is run: the search, the race and the final, within the budget."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steepest.compare.clock import Clock
from steepest.compare.display import display
from steepest.compare.plan import Candidate, Comparison, Job, ended
from steepest.compare.pool import Pool
from steepest.compare.verdict import figure
from steepest.core.records import EXPERIMENT, RUN, read_run, write_json
from steepest.fit.plan import Plan
from steepest.fit.state import own_random_states
from steepest.fleet.choice import rate_alone
from steepest.fleet.group import SHORT, Together
from steepest.strategy.text import parse
from steepest.tune.batch import Batch
from steepest.tune.ledger import TRIALS, importance, ledger
from steepest.tune.progress import Progress, time_left
from steepest.tune.search import Keeper
from steepest.tune.share import TIMES, Share
from steepest.tune.study import Study

TUNE = "tune.json"
LOOK = 1.0
"""Seconds between looks at what other processes do."""


@dataclass
class Tuning:
    """A study in its folder, and the clock."""

    folder: Path
    study: Study
    share: Share
    record: dict[str, Any]
    at_once: int
    device: str
    progress: bool
    together: Together = "auto"
    batch: int | None = None

    @property
    def clock(self) -> Clock:
        """What was spent, and what is left."""
        return self.share.clock

    def save(self, answer: Mapping[str, Any] | None = None) -> None:
        """Write ``tune.json`` and ``trials.json``."""
        self.clock.note()
        left = self.clock.until() - self.clock.now() if self.clock.timed else None
        more = {} if answer is None else {"answer": dict(answer)}
        weighed = None
        if answer is not None:
            weighed = {
                label: found
                for label, s in self.study.searches.items()
                if (found := importance(s.box_of(s.trials()), s.trials()))
            }
        clock = {"spent": self.clock.spent, "deadline": None if left is None else time.time() + left}
        self.record = {**self.record, "budget": str(self.clock.budget), **clock, **more}
        write_json(self.folder / TUNE, self.record)
        write_json(self.folder / TRIALS, ledger(self.study, weighed))

    # ------------------------------------------------------------------------------------------------------- the search

    def search(self, pool: Pool) -> bool:
        """Search and race, together with whoever else works on the study; False where it was stopped by hand."""
        study, until = self.study, self.clock.last

        def tell(job: Job, status: str, message: str) -> None:
            study.tell(job, status, message)
            if self.clock.due:
                self.save()

        batch = Batch(self.together, self.at_once, pool.apart, self.batch)

        def more() -> Sequence[Job]:
            return study.take(batch)

        shown = Progress(self.progress, tell, lambda: best_words(study), self.left)
        complete = True
        with shown, Keeper(*study.searches.values()):
            while complete:
                complete = pool.run([], self.at_once, shown, until=until, together=self.together, more=more)
                if study.over() or time.monotonic() > min(until, self.clock.until(TIMES[1])):
                    break
                time.sleep(LOOK)  # other processes are at work
            study.give_back()
        self.save()
        return complete or time.monotonic() > until

    def left(self) -> str:
        """How much is left, in words."""
        if self.share.timed:
            return time_left(self.clock.until() - self.clock.now())
        total = int(len(self.study.arms) * (self.share.explore + self.share.race))
        return f"{figure(self.study.spent())} of {total} runs of the search"

    # -------------------------------------------------------------------------------------------------------- the final

    def final(self, pool: Pool, ground: Any, monitor: str) -> Comparison | None:
        """What each arm chose, and each as given, on fresh seeds; None where there is nothing to compare."""
        candidates: list[Candidate] = []
        for arm in self.study.arms:
            choice = self.study.choice(arm)
            if choice is not None:
                candidates.append(Candidate(arm.label, choice.strategy, True))
            if choice is None or str(choice.strategy) != str(arm.given):
                candidates.append(Candidate(arm.given_label, arm.given, True))
        if not candidates or not self.share.finals:
            return None
        seeds = range(self.finals(len(candidates)))
        comparison = Comparison((ground,), tuple(candidates), tuple(seeds), self.device, monitor)
        self.study.save()
        write_json(self.folder / EXPERIMENT, comparison.record())
        jobs = comparison.jobs(self.folder)
        for job in jobs:
            _drop_other(job)
        done = [job for job in jobs if ended(job)]
        there = {job.key for job in done}
        missing = [job for job in jobs if job.key not in there]
        count = f"{len(candidates)} strateg{'y' if len(candidates) == 1 else 'ies'}"
        heading = f"final: {count}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
        with display(self.progress, comparison, jobs, done, lambda: heading) as shown:
            complete = not missing or pool.run(missing, self.at_once, shown, comparison, self.clock.last)
        if not complete and not self.clock.over:
            raise KeyboardInterrupt(f"the search is done, {sum(map(ended, jobs))} of {len(jobs)} runs of the final too")
        seen = [s for s in seeds if all(ended(j) for j in jobs if j.seed == s)]
        if not seen:
            return None
        comparison = replace(comparison, seeds=tuple(seen))
        write_json(self.folder / EXPERIMENT, comparison.record())
        return comparison

    def finals(self, candidates: int) -> int:
        """How many seeds the final has: as many as the time is likely to be enough for."""
        if not self.share.timed:
            return self.share.finals
        legs = [leg for search in self.study.searches.values() for leg in search.store.legs()]
        usual = [leg.seconds for leg in legs if leg.status == "finished" and leg.steps is None]
        each = sum(usual) / len(usual) if usual else 1.0
        if self.together != "processes":  # seconds in a stack are shares; the final's runs are alone
            each = max(each, self._alone())
        fits = self.clock.left() * self.at_once / (1.3 * each * candidates + 1e-9)
        return max(1, min(self.share.finals, int(fits)))

    def _alone(self) -> float:
        """Seconds of a run alone, by a few steps of the first arm's."""
        task = self.study.ground.task
        if self.device != "cpu" or task.steps < SHORT:
            return 0.0
        with own_random_states():
            return task.steps / rate_alone(Plan(task, self.study.arms[0].given, device=self.device))


def best_words(study: Study) -> str:
    """The best so far."""
    found = study.best()
    if found is None:
        return "no trial has come to anything yet"
    _, choice = found
    value = choice.mean if study.ground.task.goal == "min" else -choice.mean
    seeds = f" (mean of {choice.seeds} seeds)" if choice.seeds > 1 else ""
    return f"{study.ground.task.metric} {figure(value)}{seeds} with {choice.strategy}"


def _drop_other(job: Job) -> None:
    """A final run of a setting that is no longer the chosen one, as more of the budget found a better one."""
    if (job.folder / RUN).exists() and parse(read_run(job.folder)["strategy"]) != job.candidate.strategy:
        shutil.rmtree(job.folder)
