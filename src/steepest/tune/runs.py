"""A task as an objective: a leg is a training run in a folder of its own, done by the processes of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from steepest.compare.plan import Candidate, Ground, Job
from steepest.compare.scoring import trial_folder
from steepest.compare.search import trial_seed
from steepest.compare.study import cost
from steepest.core.records import METRICS, read_metrics, read_result
from steepest.fit.leave import Leave
from steepest.strategy.space import Space
from steepest.tune.extension import strategy_at
from steepest.tune.front import LENGTH
from steepest.tune.leg import Leg, Status
from steepest.tune.objective import Outcome
from steepest.tune.scheduler import Curve

KNOWN = ("finished", "paused", "halted")
"""How a run ends that came to a value."""


@dataclass(frozen=True)
class Runs:
    """The runs of one arm.

    Args:
        folder: Of the study.
        ground: The task.
        label: The arm.
        space: Its strategies.
        study: The study's seed: another one trains on other seeds.
        against: What the loss is weighed against; then the length of a run is searched too.
        gradients: How many a step takes.
    """

    folder: Path
    ground: Ground
    label: str
    space: Space
    study: int = 0
    against: str | None = None
    gradients: float = 1.0

    def job(self, leg: Leg, legs: Sequence[Leg]) -> Job:
        """The run of a leg. A leg that takes up the work of another one has the same folder, and so its checkpoint."""
        if leg.source is not None and (leg.trial, None) != (_of(leg.source, legs).trial, leg.length):
            raise NotImplementedError("a run of a task goes on from its own checkpoint, under its own schedule")
        number = begun(leg, legs)
        point = dict(leg.point or {})
        length = point.pop(LENGTH, None) if self.against else leg.length
        task = self.ground.task if length is None else replace(self.ground.task, steps=length)
        strategy = strategy_at(self.space, point)
        place = trial_folder(self.folder, task.name, self.label, number)
        candidate = Candidate(self.label, strategy, True)
        sign = 1.0 if task.goal == "min" else -1.0
        leave = Leave(leg.steps if leg.length is None else None, tuple((step, sign * x) for step, x in leg.limits))
        ground = Ground(task, self.ground.spelling)
        return Job(ground, candidate, trial_seed(self.study, leg.seed), place, leg.number, leave)

    def outcome(self, leg: Leg, job: Job, status: str, message: str) -> Outcome:
        """What a run came to, from its own record. It is charged what it was claimed for, however it ended."""
        result = read_result(job.folder) or {}
        made, seconds = int(result.get("steps") or 0), float(result.get("seconds") or 0.0)
        task = job.ground.task
        value = cost({**result, "status": "finished"}, task) if status in KNOWN and result else math.inf
        if self.against:  # claimed as a whole run, charged what it took
            share = self.gradients / self.ground.task.steps
            spent = result.get("gradient_evaluations" if self.against == "steps" else "cpu_seconds") or 0.0
            if math.isfinite(value):
                return Outcome("finished", (value, float(spent)), made, share * made, seconds, message)
            lost: Status = "diverged" if status in ("diverged", *KNOWN) else "failed"
            return Outcome(lost, None, made, share * task.steps, seconds, message)
        if math.isfinite(value) and status == "halted":  # it pays for what it had
            charge = leg.charge * min(1.0, made / task.steps)
            return Outcome("stopped", (value,), made, charge, seconds, message)
        if math.isfinite(value):
            return Outcome("finished" if leg.steps is None else "paused", (value,), made, leg.charge, seconds, message)
        ended: Status = "diverged" if status in ("diverged", *KNOWN) else "failed"
        return Outcome(ended, None, made, leg.charge, seconds, message)

    def curve(self, leg: Leg, legs: Sequence[Leg]) -> Curve:
        """What the run of a leg came to on its way, by step, smaller is better."""
        place = trial_folder(self.folder, self.ground.task.name, self.label, begun(leg, legs))
        metric, sign = self.ground.task.metric, 1.0 if self.ground.task.goal == "min" else -1.0
        lines = read_metrics(place / METRICS) if (place / METRICS).exists() else []
        values = [(line["step"], line.get(metric)) for line in lines if line["kind"] == "eval" and line["step"]]
        return [(step, math.nan if value is None else sign * value) for step, value in values]


def _of(number: int, legs: Sequence[Leg]) -> Leg:
    return next(leg for leg in legs if leg.number == number)


def paused(leg: Leg) -> bool:
    """Whether a leg is a part of a run under the schedule of the full length; all parts of a trial are one run."""
    return leg.length is None and (leg.steps is not None or leg.source is not None)


def begun(leg: Leg, legs: Sequence[Leg]) -> int:
    """The number of the leg that first began the same run."""
    if paused(leg):
        return leg.trial
    same = (leg.trial, leg.seed, leg.steps, leg.length, leg.source)
    return min(
        (o.number for o in legs if (o.trial, o.seed, o.steps, o.length, o.source) == same and o.status != "withdrawn"),
        default=leg.number,
    )
