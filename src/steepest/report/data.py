"""What a folder of records holds: the experiment, its runs with their curves, the summary, and what is missing.

Reading never fails on a torn or absent file: what cannot be read is named in :attr:`Records.problems`, and the rest is
shown. Only a folder that holds no records at all is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from steepest.core.errors import RecordError
from steepest.core.records import EXPERIMENT, FINDINGS, METRICS, RECOMMENDATION, RESULT, RUN, SUMMARY, slug
from steepest.report.curves import Array, Curve

if TYPE_CHECKING:
    from steepest.report.trials import Tuning

Status = Literal["finished", "diverged", "failed", "stopped", "unfinished", "missing"]
_KNOWN: tuple[Status, ...] = ("finished", "diverged", "failed", "stopped")


@dataclass(frozen=True)
class Task:
    """A task as it was recorded: what was optimised, and which metric chooses."""

    name: str
    metric: str = "loss"
    goal: str = "min"
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Strategy:
    """A strategy, and its place in the experiment: the place gives its colour everywhere."""

    index: int
    label: str
    text: str


@dataclass(frozen=True, eq=False)
class Run:
    """One training run: who, how it ended, and its curves by column name."""

    task: str
    strategy: Strategy
    seed: int
    status: Status
    train: Mapping[str, Array] = field(default_factory=dict)
    evaluations: Mapping[str, Array] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    torn: int = 0
    inside: Sequence[Mapping[str, Any]] = ()
    """The monitor's lines, from the step and from probes."""
    rounds: Mapping[str, Array] = field(default_factory=dict)
    """Of a federation: what each round knows of itself."""
    clients: Mapping[str, Array] = field(default_factory=dict)
    """Of a federation: how the clients fare, by evaluation."""
    dealt: Mapping[str, Any] = field(default_factory=dict)
    """Of a federation: who has what."""

    def curve(self, column: str, kind: Literal["train", "validation"] = "train") -> Curve:
        """One recorded column over the steps; empty when it was not recorded."""
        columns = self.train if kind == "train" else self.evaluations
        if column not in columns:
            return Curve(np.zeros(0), np.zeros(0))
        return Curve(columns["step"], columns[column])

    @property
    def last_step(self) -> int:
        """The last step of which anything was recorded."""
        steps = [int(columns["step"][-1]) for columns in (self.train, self.evaluations) if len(columns.get("step", ()))]
        return max(steps, default=0)

    def final(self, metric: str, split: str = "validation") -> float | None:
        """The value at the end, from the result; None where the run has none (diverged, unfinished, no test split)."""
        values = self.result.get(split)
        return number(values.get(metric)) if isinstance(values, Mapping) else None


@dataclass(frozen=True, eq=False)
class Records:
    """Everything a report shows, read from one folder."""

    folder: str
    single: bool
    command: str
    created: str
    tasks: tuple[Task, ...]
    strategies: tuple[Strategy, ...]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    summary: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    problems: tuple[str, ...]
    findings: Mapping[str, Any] | None = None
    recommendation: Mapping[str, Any] | None = None
    """What was tried and rejected before the runs that are shown."""
    tuning: Tuning | None = None
    """The search that led to the runs."""

    def of(self, task: Task, strategy: Strategy | None = None) -> list[Run]:
        """Runs of a task (and a strategy), by strategy and then by seed."""
        return [run for run in self.runs if run.task == task.name and strategy in (None, run.strategy)]

    def count(self, *statuses: Status) -> int:
        """Number of runs with one of these statuses."""
        return sum(run.status in statuses for run in self.runs)

    @cached_property
    def torn(self) -> int:
        """Lines of metrics that could not be read, over all runs."""
        return sum(run.torn for run in self.runs)

    def board(self, task: Task) -> list[Mapping[str, Any]]:
        """The leaderboard of a task as the comparison wrote it; empty when there is none."""
        entry = mapping(mapping(mapping(self.summary).get("tasks")).get(task.name))
        rows = entry.get("leaderboard")
        return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []

    def verdict(self, task: Task | None = None) -> str:
        """The recorded verdict, overall or on one task; empty when there is none."""
        summary = mapping(self.summary)
        entry = (
            mapping(summary.get("overall")) if task is None else mapping(mapping(summary.get("tasks")).get(task.name))
        )
        verdict = entry.get("verdict")
        return verdict if isinstance(verdict, str) else ""


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one: records may be older or damaged."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """The value as a finite float, else None.

    >>> number(3), number(float("inf")), number("3"), number(True)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def read_json(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """The object in a JSON file; None when it is absent, and also, with a note in ``problems``, when it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} could not be read ({type(error).__name__}); it is treated as missing.")
        return None
    if not isinstance(value, dict):
        problems.append(f"{path.name} holds no JSON object; it is treated as missing.")
        return None
    return value


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The objects of a JSON-lines file and the number of lines that are torn. An absent file has neither."""
    objects, torn = [], 0
    try:
        with path.open("rb") as lines:
            for line in lines:
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except ValueError:
                    value = None
                if isinstance(value, dict) and number(value.get("step")) is not None:
                    objects.append(value)
                else:
                    torn += 1
    except FileNotFoundError:
        pass
    return objects, torn


def columns(lines: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Columns of numbers over increasing steps. Where a resumed run wrote a step twice, the later line counts.

    >>> columns([{"step": 0, "loss": 2.0}, {"step": 1, "loss": 9.0}, {"step": 1, "loss": 1.0}])["loss"].tolist()
    [2.0, 1.0]
    """
    by_step = {line["step"]: line for line in lines}
    ordered = [by_step[step] for step in sorted(by_step)]
    names = dict.fromkeys(name for line in ordered for name, value in line.items() if number(value) is not None)
    return {
        name: np.array([math.nan if (x := number(line.get(name))) is None else x for line in ordered]) for name in names
    }


def read_run(folder: Path, task: str, strategy: Strategy, seed: int, problems: list[str]) -> Run:
    """One run folder. Without a result it is unfinished, and its curves reach as far as they were written."""
    lines, torn = read_lines(folder / METRICS)
    result = read_json(folder / RESULT, problems)
    status: Status = "unfinished"
    if result is not None:
        status = next((known for known in _KNOWN if known == result.get("status")), "failed")
    return Run(
        task,
        strategy,
        seed,
        status,
        columns([line for line in lines if line.get("kind") == "train"]),
        columns([line for line in lines if line.get("kind") == "eval" and line.get("split") == "validation"]),
        result or {},
        torn,
        [line for line in lines if line.get("kind") in ("monitor", "probe")],
        columns([line for line in lines if line.get("kind") == "round"]),
        columns([line for line in lines if line.get("kind") == "clients"]),
        read_json(folder / "clients.json", problems) or {},
    )


def _strategies(entries: Any, found: Iterable[Mapping[str, Any]]) -> tuple[Strategy, ...]:
    """The strategies in the order of the experiment, then any that only their runs know."""
    texts: dict[str, str] = {}
    for entry in [*(entries if isinstance(entries, list) else []), *found]:
        label, text = str(entry.get("label") or entry.get("text") or ""), str(entry.get("text") or "")
        if label:
            texts.setdefault(label, text)
    return tuple(Strategy(index, label, text) for index, (label, text) in enumerate(texts.items()))


def _tasks(entries: Any, found: Iterable[str]) -> tuple[Task, ...]:
    """The tasks in the order of the experiment, then any that only their runs know."""
    known: dict[str, Task] = {}
    for entry in filter(None, entries) if isinstance(entries, list) else []:
        name = str(entry.get("name", ""))
        known[name] = Task(name, str(entry.get("metric") or "loss"), str(entry.get("goal") or "min"), entry)
    for name in found:
        known.setdefault(name, Task(name))
    return tuple(known.values())


def _identities(folder: Path, known: Any, problems: list[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every run folder below ``folder`` with what its run.json says; a lost run.json is filled in from the path."""
    found = [(path, read_json(path / RUN, problems)) for path in sorted(folder.glob("runs/*/*/seed-*"))]
    slugs = {path.parent.name: (said.get("label"), said.get("strategy")) for path, said in found if said}
    for entry in known if isinstance(known, list) else []:
        for text in (str(entry.get("text")), str(entry.get("label"))):
            slugs.setdefault(slug(text), (entry.get("label"), entry.get("text")))
    for path, said in found:
        seed = path.name.removeprefix("seed-")
        label, strategy = slugs.get(path.parent.name, (path.parent.name, ""))
        guess = {"task": path.parent.parent.name, "label": label, "strategy": strategy}
        yield path, {**guess, "seed": int(seed) if seed.isdigit() else 0, **(said or {})}


def load(folder: str | Path) -> Records:
    """Read the folder of a comparison (``experiment.json``), a tuning (``tune.json``) or a single run (``run.json``).

    Raises:
        RecordError: The folder holds none of them.
    """
    from steepest.report.trials import TRIALS, TUNE, read_tuning

    root = Path(folder)
    problems: list[str] = []
    tune = read_json(root / TUNE, problems)
    experiment = read_json(root / EXPERIMENT, problems)
    alone = read_json(root / RUN, problems)
    if alone is not None:
        found = [(root, alone)]
    else:
        found = list(_identities(root, (experiment or {}).get("strategies"), problems))
    if experiment is None and tune is None and not found:
        raise RecordError(
            f"{root} holds no records: there is no experiment.json, run.json or runs/. "
            "Give the folder that `steepest compare`, `steepest tune` or `steepest train` wrote with --out."
        )
    tuning = None if tune is None else read_tuning(root, tune, read_json(root / TRIALS, problems), problems)
    if experiment is None and tuning is not None:
        experiment = {**tuning.record, "tasks": [tuning.record.get("task")], "strategies": tuning.strategies()}
    elif experiment is None and alone is None:
        problems.append("experiment.json is missing: tasks, strategies and seeds are those of the runs found.")
    settings = experiment or alone or {}
    tasks = _tasks(settings.get("tasks"), (str(said["task"]) for _, said in found if "task" in said))
    strategies = _strategies(
        settings.get("strategies"),
        ({"label": said.get("label") or said.get("strategy"), "text": said.get("strategy")} for _, said in found),
    )
    by_label = {strategy.label: strategy for strategy in strategies}
    runs: dict[tuple[str, str, int], Run] = {}
    for path, said in found:
        strategy = by_label.get(str(said.get("label") or said.get("strategy")))
        if strategy is None:
            problems.append(f"{path.name} says neither label nor strategy; it is left out.")
            continue
        task, seed = str(said.get("task", "")), int(number(said.get("seed")) or 0)
        runs[task, strategy.label, seed] = read_run(path, task, strategy, seed, problems)
    seeds = [int(seed) for seed in settings.get("seeds") or [] if number(seed) is not None]
    seeds += sorted({run.seed for run in runs.values()} - set(seeds))
    expected = [] if alone is not None else [(t.name, s, n) for t in tasks for s in strategies for n in seeds]
    for task, strategy, seed in expected:
        runs.setdefault((task, strategy.label, seed), Run(task, strategy, seed, "missing"))
    summary = read_json(root / SUMMARY, problems)
    findings = read_json(root / FINDINGS, problems)
    return Records(
        folder=root.resolve().name,
        single=alone is not None,
        command=str(settings.get("command") or ""),
        created=str(settings.get("created") or ""),
        tasks=tasks,
        strategies=strategies,
        seeds=tuple(seeds),
        runs=tuple(sorted(runs.values(), key=lambda run: (run.task, run.strategy.index, run.seed))),
        summary=summary,
        settings=settings,
        problems=tuple(problems),
        findings=findings,
        recommendation=read_json(root / RECOMMENDATION, problems),
        tuning=tuning,
    )
