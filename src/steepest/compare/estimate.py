"""What a tuned comparison will cost, before it begins."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from steepest.compare.study import Study, gradients_per_step
from steepest.fit.loop import one_step
from steepest.fit.threads import threads
from steepest.strategy.value import Strategy
from steepest.tasks.task import Task

SECONDS, STEPS = 0.3, 50
"""A strategy is tried on a task for so long, or for so many steps."""
START = 4.0
"""Seconds that a worker takes to start."""


@dataclass(frozen=True)
class Estimate:
    """Runs, gradients and time of a whole comparison; ``minutes`` is a guess from a few steps of each strategy.

    ``refused`` says, by task and strategy, why one cannot train the other: all such runs will fail.
    """

    trials: int
    finals: int
    gradients: float
    minutes: float
    refused: dict[tuple[str, str], str] = field(default_factory=dict)

    def __str__(self) -> str:
        runs = f"{self.trials} trials and {self.finals} final runs, about {self.gradients:,.0f} gradients"
        return f"{runs}; about {self.minutes:.0f} min" if self.minutes >= 1 else f"{runs}; less than a minute"


def estimate(study: Study, seeds: int, at_once: int) -> Estimate:
    """Count the runs, and time a few steps of every strategy on every task."""
    with threads(1):  # as the workers have it
        return _counted(study, seeds, at_once)


def _counted(study: Study, seeds: int, at_once: int) -> Estimate:
    trials = finals = 0
    gradients = seconds = 0.0
    refused: dict[tuple[str, str], str] = {}
    for ground in study.grounds:
        evaluations = 1 + -(-ground.task.steps // ground.task.eval_interval)
        looking = evaluations * evaluation_seconds(ground.task)
        known: dict[str, float] = {}
        for arm in study.arms:
            strategies = [arm.given] if arm.given is not None else [s.base for s in arm.spaces]
            for strategy in strategies:
                name = strategy.rule.name
                if name not in known:
                    try:
                        known[name] = step_seconds(ground.task, strategy)
                    except Exception as error:  # its runs will say the same
                        known[name] = 0.0
                        refused[ground.task.name, name] = str(error)
            steps = [known[s.rule.name] for s in strategies]
            runs = (study.allowed(arm) if arm.spaces else 0) + seeds
            each = sum(gradients_per_step(s) for s in strategies) / len(steps)
            trials, finals = trials + runs - seeds, finals + seeds
            gradients += runs * each * ground.task.steps
            seconds += runs * (looking + ground.task.steps * sum(steps) / len(steps))
    return Estimate(trials, finals, gradients, (seconds / at_once + START) / 60, refused)


def step_seconds(task: Task, strategy: Strategy) -> float:
    """Seconds of a step."""
    model, batches = task.build(0), task.batches(0)
    optimizer = strategy.optimizer(model, steps=task.steps, steps_per_epoch=batches.steps_per_epoch)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begin < SECONDS and len(times) < STEPS):
        batch, start = batches.batch(len(times)), time.perf_counter()
        one_step(task, model, optimizer, batch)
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def evaluation_seconds(task: Task) -> float:
    """Seconds of an evaluation; the first one, which warms up, is not counted."""
    model = task.build(0)
    task.evaluate(model)
    start = time.perf_counter()
    task.evaluate(model)
    return time.perf_counter() - start
