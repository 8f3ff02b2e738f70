"""A study: a search for each arm, equal budgets, and what they choose. Nothing is run here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from steepest.compare.plan import Ground, Job
from steepest.compare.scoring import STUDY
from steepest.core.piece import Piece
from steepest.core.records import SCHEMA, write_json
from steepest.fleet.group import stackable
from steepest.strategy.space import Point
from steepest.strategy.value import Strategy
from steepest.tune.arms import Arm
from steepest.tune.batch import ONE, Batch
from steepest.tune.box import Box
from steepest.tune.extension import Extending, extended, own, strategy_at
from steepest.tune.extension import words as extended_words
from steepest.tune.fidelity import Climb
from steepest.tune.front import LENGTH, Front, front, with_length
from steepest.tune.leg import ENDED, Leg
from steepest.tune.race import Race, chosen
from steepest.tune.runs import Runs, begun
from steepest.tune.samplers import sampler
from steepest.tune.scheduler import Curve, Move, Scheduler
from steepest.tune.schedulers import climbs_on, over_rungs, reading, scheduler
from steepest.tune.search import Search
from steepest.tune.share import Share
from steepest.tune.storage import Open
from steepest.tune.trial import Trial


@dataclass(frozen=True)
class Choice:
    """What an arm chose, and how much of it was luck.

    Args:
        trial: The chosen trial.
        strategy: Its strategy.
        mean: Over the seeds it raced on; smaller is better.
        seeds: How many these are.
        first: What it came to on the seed that it was found on.
        luckiest: The best value of all trials on that seed.
    """

    trial: Trial
    strategy: Strategy
    mean: float
    seeds: int
    first: float
    luckiest: float


def _cost(gradients: float, full: int, move: Move) -> float:
    """A whole run's worth; less where the length of a run is searched, and known."""
    length = (move.point or {}).get(LENGTH)
    return gradients if length is None else gradients * length / full


class Study:
    """Arms, their searches, and the runs of both.

    Args:
        folder: For the records.
        ground: The task.
        arms: What is searched.
        share: What each arm may spend.
        open_store: Opens the store of an arm.
        name: Of the study, in its storage.
        sampler_name: Which sampler.
        how_far: The scheduler, or its name.
        seed: Of the study.
        climb: How a trial gets to its next rung (:data:`steepest.tune.fidelity.Climb`).
        extend: Whether ranges go on where the best point lies next to an end.
        against: What the loss is weighed against (:mod:`steepest.tune.front`); None: the loss alone counts.
    """

    def __init__(
        self,
        folder: Path,
        ground: Ground,
        arms: Sequence[Arm],
        share: Share,
        open_store: Open,
        name: str,
        sampler_name: Any = "auto",
        how_far: str | Scheduler | None = None,
        seed: int = 0,
        climb: Climb = "again",
        extend: bool = True,
        against: str | None = None,
    ) -> None:
        self.folder, self.ground, self.arms, self.share, self.seed = folder, ground, list(arms), share, seed
        self.searches: dict[str, Search] = {}
        self.runs: dict[str, Runs] = {}
        self.against = against
        task = ground.task
        sign = 1 if task.goal == "min" else -1
        given = scheduler(how_far, task.steps, climb)
        for arm in arms:
            inner = reading(given, partial(self._curve, arm.label))
            box = Box.of(arm.space)
            box = with_length(box, task.steps) if against else box
            about = {"task": task.name, "metric": task.metric, "space": str(arm.space)}
            self.runs[arm.label] = Runs(folder, ground, arm.label, arm.space, seed, against, arm.gradients)
            race = Race(inner, share.explore, share.race, share.exploring)
            self.searches[arm.label] = Search(
                open_store(f"{name}: {arm.label}", box, (sign, 1) if against else (sign,), about),
                box,
                over_rungs(sampler(sampler_name, seed, 2 if against else 1), inner),
                Front(share.explore, share.exploring) if against else race,
                share.explore + share.race,
                seed,
                ({**arm.first, LENGTH: task.steps} if against else arm.first,),
                task.steps,
                partial(_cost, arm.gradients, task.steps),
                extend=Extending(arm.space, share) if extend and not against else None,
                resumes=climbs_on(inner),
                open=share.open,
            )
        self._open: dict[tuple[str, str, int], tuple[str, Leg]] = {}
        self._curves: dict[tuple[str, int], Curve] = {}
        self._stacks: dict[str, bool] = {}

    # ----------------------------------------------------------------------------------------------------- the searches

    def take(self, batch: Batch = ONE) -> list[Job]:
        """The next runs of the arm that has spent least: several where they may be trained together; none for now."""
        order = sorted(self.searches, key=lambda label: (self._spent(label), list(self.searches).index(label)))
        for label in order:
            search, runs = self.searches[label], self.runs[label]
            alike = not self.against and self._stackable(label)
            count = batch.count(search, self.ground.task, self.share) if alike else 1
            legs = search.take_some(count, lambda first, leg: batch.together_with(first, leg, self.ground.task))
            if not legs:
                continue
            every = search.store.legs()
            jobs = [runs.job(leg, every) for leg in legs]
            self._open.update({job.key: (label, leg) for job, leg in zip(jobs, legs, strict=True)})
            return jobs
        return []

    def _stackable(self, label: str) -> bool:
        """Whether trials of an arm can be trained together at all; found out once."""
        if label not in self._stacks:
            self._stacks[label] = stackable(self.ground.task, self.runs[label].space.base)
        return self._stacks[label]

    def _curve(self, label: str, leg: Leg) -> Curve:
        """What a run that has finished came to on its way; read once."""
        key = (label, leg.number)
        if key not in self._curves:
            self._curves[key] = self.runs[label].curve(leg, self.searches[label].store.legs())
        return self._curves[key]

    def tell(self, job: Job, status: str, message: str) -> Leg | None:
        """What became of a run; returns its leg, None where it goes to somebody else."""
        label, leg = self._open.pop(job.key)
        search = self.searches[label]
        if status == "stopped":
            search.give_back(leg)
            return None
        return leg if search.tell(leg, self.runs[label].outcome(leg, job, status, message)) else None

    def over(self) -> bool:
        """Whether no search has anything left to do."""
        return all(search.over() for search in self.searches.values())

    def give_back(self) -> None:
        """Let go of everything that was begun here and has not ended."""
        for label, leg in self._open.values():
            self.searches[label].give_back(leg)
        self._open.clear()

    def _spent(self, label: str) -> float:
        legs = self.searches[label].store.legs()
        if self.share.timed:
            known = [leg.seconds for leg in legs if leg.status in ENDED and leg.seconds]
            usual = sum(known) / len(known) if known else 1.0
            return sum(usual if leg.status == "open" else leg.seconds for leg in legs if leg.status != "withdrawn")
        return sum(leg.charge for leg in legs if leg.status != "withdrawn")

    # ------------------------------------------------------------------------------------------------------- the choice

    def choice(self, arm: Arm) -> Choice | None:
        """What an arm chooses; None where no trial came to anything."""
        trials = self.searches[arm.label].trials()
        found = chosen(trials)
        if found is None:
            return None
        trial, mean, seeds = found
        values = [v for t in trials if (v := t.repeats().get(0)) is not None]
        strategy = self.strategy(arm, trial)
        return Choice(trial, strategy, mean, len(seeds), trial.repeats()[0], min(values))

    def strategy(self, arm: Arm, trial: Trial) -> Strategy:
        """What a trial trains with."""
        return strategy_at(arm.space, own(arm.space, trial.point or {}))

    def front(self) -> list[tuple[Arm, Trial]]:
        """With two objectives: what no trial of any arm beats in both, the cheapest first."""
        every = [(arm, t) for arm in self.arms for t in self.searches[arm.label].trials()]
        members = front([t for _, t in every])
        return [next((arm, t) for arm, t in every if t is member) for member in members]

    def best(self) -> tuple[Arm, Choice] | None:
        """The best choice of all arms so far."""
        found = [(arm, c) for arm in self.arms if (c := self.choice(arm)) is not None]
        return min(found, key=lambda pair: pair[1].mean) if found else None

    def spent(self) -> float:
        """What the searches have been charged so far, in whole runs' worth; what is being run counts too."""
        return sum(search.spent() for search in self.searches.values())

    def count(self) -> tuple[int, int]:
        """How many runs have ended, and how many were of no use."""
        legs = [leg for search in self.searches.values() for leg in search.store.legs()]
        return sum(leg.status in ENDED for leg in legs), sum(leg.status in ("diverged", "failed") for leg in legs)

    # ------------------------------------------------------------------------------------------------------ the records

    def save(self) -> None:
        """Write ``study.json``: every trial of every arm, what it came to, and what was chosen."""
        entries = {arm.label: self._record(arm) for arm in self.arms}
        record = {"schema": SCHEMA, "rounds": ["search", "race"], "seed": self.seed, "tasks": {}}
        write_json(self.folder / STUDY, {**record, "tasks": {self.ground.task.name: entries}})

    def _record(self, arm: Arm) -> dict[str, Any]:
        search, runs = self.searches[arm.label], self.runs[arm.label]
        legs = search.store.legs()
        newest: dict[int, Leg] = {}
        for leg in legs:
            if leg.status != "withdrawn" and leg.point is not None:
                newest[begun(leg, legs)] = leg
        rows: list[list[dict[str, Any]]] = [[], []]
        for number, leg in sorted(newest.items()):
            job = runs.job(leg, legs)
            part = int(leg.seed > 0)
            row = {
                "number": number,
                "round": part,
                "seed": job.seed,
                "which": 0,
                "point": _shown(leg.point),
                "strategy": job.candidate.text,
                "repeats": None if number == leg.trial else leg.trial,
            }
            rows[part].append(row)
        spent = self.share.explore + self.share.race
        made = sum(leg.status in ENDED for leg in newest.values())
        allowed = made if not math.isfinite(spent) else int(spent / arm.gradients + 1e-9)
        found, box = self.choice(arm), search.box_of(search.trials())
        searched, said = extended(arm.space, box), extended_words(arm.space, box)
        sign = 1 if self.ground.task.goal == "min" else -1
        return {
            "kind": "tuned",
            "trials": allowed,
            "allowed": allowed,
            "gradients_per_step": arm.gradients,
            "gradient_budget": int(allowed * arm.gradients * self.ground.task.steps),
            "rounds": [{"spaces": [str(searched)], "extended": said if i == 0 else [], "trials": part}
                       for i, part in enumerate(rows) if part],
            "chosen": None if found is None else {
                "trial": found.trial.number,
                "strategy": str(found.strategy),
                "point": _shown(found.trial.point),
                "value": sign * found.mean,
                "seeds": found.seeds,
                "first": sign * found.first,
                "luckiest": sign * found.luckiest,
                "near_edges": [
                    f"{path} ({end})" for path, end in searched.near_edges(own(arm.space, found.trial.point or {}))
                ],
            },
        }  # fmt: skip


def _shown(point: Point | None) -> dict[str, Any]:
    """A point as plain data: a piece by its text."""
    return {name: str(value) if isinstance(value, Piece) else value for name, value in (point or {}).items()}
