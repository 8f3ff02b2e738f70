"""What a tuned comparison adds to a summary: where its budget went, and scores over the whole suite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from steepest.compare.search import Trial
from steepest.compare.statistics import leave_one_out, profile, score, speed
from steepest.core.records import read_json, read_result, slug

STUDY, TRIALS = "study.json", "trials"
TAU = [round(float(t), 3) for t in numpy.linspace(1, 4, 61)]
Record = dict[str, Any]


def trial_folder(folder: Path, task: str, label: str, number: int) -> Path:
    """Where a trial of a search lies."""
    return folder / TRIALS / slug(task) / slug(label) / f"trial-{number:03d}"


def tuning(folder: Path, experiment: Mapping[str, Any]) -> dict[str, dict[str, Record]]:
    """For every task and arm: what its search was given, what it took, and what it chose; from records alone."""
    if not (folder / STUDY).exists():
        return {}
    goals = {t["name"]: (t["metric"], 1 if t["goal"] == "min" else -1) for t in experiment["tasks"]}
    return {
        task: {label: _search(folder, task, label, entry, *goals[task]) for label, entry in searches.items()}
        for task, searches in read_json(folder / STUDY)["tasks"].items()
        if task in goals
    }


def _search(folder: Path, task: str, label: str, entry: Mapping[str, Any], metric: str, sign: int) -> Record:
    trials = [Trial(**t) for r in entry["rounds"] for t in r["trials"]]
    results = [read_result(trial_folder(folder, task, label, t.number)) for t in trials]
    begun = [r for r in results if r is not None]
    values = [r["validation"].get(metric) if r is not None and r["status"] == "finished" else None for r in results]
    best: list[float | None] = []
    for value in values:  # best so far, a lost trial leaves it where it was
        known = [v for v in (value, best[-1] if best else None) if v is not None]
        best.append(sign * min(sign * v for v in known) if known else None)
    chosen = entry.get("chosen") or {}
    return {
        "kind": entry["kind"],
        "trials": entry["trials"],
        "allowed": entry["allowed"],
        "charged": len(begun),
        "diverged": sum(r["status"] == "diverged" for r in begun),
        "failed": sum(r["status"] == "failed" for r in begun),
        "gradient_budget": entry["gradient_budget"],
        "gradient_evaluations": sum(r.get("gradient_evaluations") or 0 for r in begun),
        "seconds": sum(r.get("seconds") or 0.0 for r in begun),
        "space": entry["rounds"][-1]["spaces"] if entry["rounds"] else [],
        "extended": [words for r in entry["rounds"] for words in r["extended"]],
        "near_edges": chosen.get("near_edges", []),
        "strategy": chosen.get("strategy"),
        "selected_at": chosen.get("value"),
        "values": values,
        "best_so_far": best,
    }


def suite(tasks: Mapping[str, Record]) -> Record | None:
    """Scores over all tasks from the median steps to their targets, and places by what is reached at the end.

    A strategy whose every run failed on a task, because it cannot train such a model, never reaches that target.
    """
    boards = {name: {row["label"]: row for row in task["leaderboard"]} for name, task in tasks.items()}
    if len(boards) < 2 or not all(map(_tried, (row for board in boards.values() for row in board.values()))):
        return None
    labels = list(next(iter(boards.values())))
    times = {s: {name: _steps(boards[name][s]) for name in boards} for s in labels}
    first = {s: sum(boards[name][s]["rank"] == 1 for name in boards) for s in labels}
    ends = {name: {s: _end(boards[name][s], tasks[name]["goal"]) for s in labels} for name in boards}
    scores = score(times)
    reference = max(labels, key=lambda s: (scores[s], -labels.index(s)))
    return {
        "times": {s: {n: t if math.isfinite(t) else None for n, t in of.items()} for s, of in times.items()},
        "score": scores,
        "tau": TAU,
        "profile": profile(times, TAU),
        "speed": {"against": reference, "of": speed(times, reference)},
        "wins": first,
        "leave_one_out": leave_one_out(ends),
    }


def _tried(row: Mapping[str, Any]) -> bool:
    return bool(row["n"] or row["diverged"] or (row["failed"] and not row["missing"]))


def _steps(row: Mapping[str, Any]) -> float:
    steps = row["time_to_target"]["steps"]
    return math.inf if steps is None else max(float(steps), 1.0)


def _end(row: Mapping[str, Any], goal: str) -> float:
    """What a strategy reaches as a cost; one that lost a run to divergence comes behind all that did not."""
    mean = row["validation"]["mean"]
    if mean is None or row["diverged"]:
        return math.inf
    return float(mean) if goal == "min" else -float(mean)
