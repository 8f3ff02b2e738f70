"""Does the thing to try help? A short paired trial, the run's own strategy beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steepest.compare.statistics import Difference, paired
from steepest.core.errors import RecordError
from steepest.core.records import plain
from steepest.doctor.beginning import Beginning, again, kin, newest
from steepest.doctor.evidence import Evidence
from steepest.doctor.finding import Finding
from steepest.doctor.looking import figure
from steepest.fit import fit
from steepest.strategy.text import parse
from steepest.tasks.registry import load
from steepest.tasks.task import Task

STEPS = 300
"""Length of a trial that needs no whole run."""
SEEDS = 3
"""Seeds of a trial: the least from which an interval is called separable."""


@dataclass(frozen=True)
class Trial:
    """What came of one trial.

    Attributes:
        rule: The finding that was put to the test.
        baseline, strategy: The two strategies, as text.
        steps: Their lengths.
        begun: The step of the run from which both went on; 0: from the start.
        seeds: Seeds that both were run with.
        values: Validation loss at the end, of the baseline and of the other; None where a run diverged.
        difference: The other minus the baseline, over the seeds where both ended; None where there is none.
        helped: True or False where the interval leaves out zero, else None.
        said: The outcome in a sentence.
    """

    rule: str
    baseline: str
    strategy: str
    steps: tuple[int, int]
    begun: int
    seeds: tuple[int, ...]
    values: tuple[tuple[float | None, ...], tuple[float | None, ...]]
    difference: Difference | None
    helped: bool | None
    said: str

    def record(self) -> dict[str, Any]:
        """Plain data."""
        made: dict[str, Any] = plain(asdict(self))
        return made


def trials(
    run: Evidence,
    findings: Sequence[Finding],
    *,
    task: Task | None = None,
    folder: str | Path | None = None,
    begin: int | None = None,
    seeds: int = SEEDS,
    steps: int | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> list[Trial]:
    """Run the test of each finding that has one; a baseline of the same length is run once.

    Both go on from one state of the run, with its optimizer's, by their own schedules. Tests that need a whole run or
    its beginning, and those of strategies with other rules or wrappers, which that state does not fit, start anew.

    Args:
        run: Whose strategy is put to the test.
        findings: What was found.
        task: The task, where its name cannot load it (a task made in a script).
        folder: Of the run, for its checkpoints.
        begin: The step to go on from: that of a checkpoint, or the run is taken there again; 0: all from the start.
            None: from the newest checkpoint that leaves room for a trial before the end, else from the start.
        seeds: How many; the run's own is the first.
        steps: Length of a trial; None: 300 steps, or all where only a whole run shows it.
        said: Hears what is being run.
    """
    if task is None and run.spelling is None:
        raise RecordError(
            f"the run is of task {run.task!r}, which was made in a script and has no "
            "name. Hand it over: task=..., or --task MODULE:TASK."
        )
    made = load(task if task is not None else str(run.spelling))
    whole = run.planned or run.taken
    chosen = tuple(range(run.seed, run.seed + seeds))
    known: dict[tuple[str, int, int], tuple[float | None, ...]] = {}
    room = min(whole, steps or STEPS)
    begun = _begun(run, made, None if folder is None else Path(folder), whole, begin, room, said)

    def values(text: str, length: int, at: Beginning | None) -> tuple[float | None, ...]:
        key = text, length, at.step if at else 0
        if key not in known:
            said(f"{length} steps of {text}{f' from step {at.step}' if at else ''}, {seeds} seeds")
            known[key] = tuple(_value(made, text, seed, length, at) for seed in chosen)
        return known[key]

    done = []
    for finding in findings:
        test = finding.test
        if test is None or test.strategy is None:
            continue
        at = None if test.whole or test.early or not kin(parse(run.text), parse(test.strategy)) else begun
        length = steps or (whole if test.whole else min(whole, STEPS))
        length = min(length, at.planned - at.step) if at else length
        longer = test.steps * length // whole if test.steps and whole else length
        before, after = values(run.text, length, at), values(test.strategy, longer, at)
        place = at.step if at else 0
        done.append(_judged(finding.rule, run.text, test.strategy, (length, longer), place, chosen, before, after))
    return done


def _begun(
    run: Evidence,
    task: Task,
    folder: Path | None,
    whole: int,
    begin: int | None,
    room: int,
    said: Callable[[str], None],
) -> Beginning | None:
    """The state to go on from; None: from the start."""
    if begin is None:
        return newest(folder, whole, room) if folder is not None else None
    if begin == 0:
        return None
    there = newest(folder, whole, whole - begin) if folder is not None and 0 < begin < whole else None
    if there is not None and there.step == begin:
        return there
    if 0 < begin < whole:
        said(f"{begin} steps of the run again")
    return again(task, run.text, run.seed, whole, begin)


def _value(task: Task, text: str, seed: int, steps: int, at: Beginning | None) -> float | None:
    """Validation loss at the end; None where the run diverged."""
    strategy: Any = text if at is None else at.strategy(text)
    task = task if at is None else at.task(task)
    done = fit(task, strategy, seed=seed, steps=steps, eval_every=steps, progress=False, monitor="off")
    value = done.validation.get("loss")
    return value if done.status == "finished" and value is not None and math.isfinite(value) else None


def _judged(
    rule: str,
    baseline: str,
    strategy: str,
    steps: tuple[int, int],
    begun: int,
    seeds: tuple[int, ...],
    before: tuple[float | None, ...],
    after: tuple[float | None, ...],
) -> Trial:
    """The outcome in words: an interval where both ended, else who did."""
    both = [(a, b) for a, b in zip(after, before, strict=True) if a is not None and b is not None]
    lost = before.count(None), after.count(None)
    difference = paired([a for a, _ in both], [b for _, b in both]) if both else None
    helped: bool | None = None
    if lost[0] != lost[1] and abs(lost[0] - lost[1]) * 2 > len(seeds):
        helped = lost[1] < lost[0]
        words = f"it diverged on {lost[1]} of {len(seeds)} seeds, the baseline on {lost[0]}"
    elif difference is None:
        words = "no seed ended with both"
    else:
        if difference.separable:
            helped = difference.mean < 0
        words = f"validation loss {difference.mean:+.3g}"
        if difference.low is not None and difference.high is not None:
            words += f" [{difference.low:+.3g}, {difference.high:+.3g}]"
        words += f" against {figure(sum(b for _, b in both) / len(both))}, {len(both)} seeds"
    verdict = {True: "helped", False: "made it worse", None: "not separable"}[helped]
    length = f"{steps[0]} steps" if steps[0] == steps[1] else f"{steps[1]} steps against {steps[0]}"
    length += f" from step {begun}" if begun else ""
    said = f"{verdict}: {words}, {length}"
    return Trial(rule, baseline, strategy, steps, begun, seeds, (before, after), difference, helped, said)
