"""Does surgery pay on this model? Ways to combine the losses, tuned alike, on fresh seeds."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from steepest.advisor.balanced import BALANCED, balanced
from steepest.compare import compare
from steepest.compare.plan import run_folder
from steepest.compare.scoring import STUDY
from steepest.compare.statistics import holm, paired
from steepest.compare.statistics.paired import interval
from steepest.core.records import read_json, read_result
from steepest.strategy.dimension import log
from steepest.strategy.space import Space, space
from steepest.strategy.text import parse
from steepest.strategy.value import Strategy
from steepest.tasks.task import Task

SCALAR = {"sum": "task_sum", "uncertainty": "uncertainty", "log sum": "log_sum", "random weights": "rlw"}
"""Ways that weigh the losses, and cost nothing."""
SURGERY = {"upgrad": "upgrad", "nash": "nash_mtl", "cagrad": "cagrad"}
"""Ways that compare gradients."""
MANY = 6
"""From so many tasks on, clusters of them are tried too."""
REACH = 10.0
"""Learning rates are searched from the given one divided by this to the given one times this."""
ALPHA = 0.05


def arms(strategy: Strategy, m: int, positive: bool = True) -> dict[str, Space]:
    """What is tried, by name: the strategy with each way, its learning rate to be searched.

    >>> list(arms(parse("sgd(lr=0.1)"), 2))
    ['sum', 'uncertainty', 'log sum', 'random weights', 'upgrad', 'nash', 'cagrad']
    """
    ways = {**SCALAR, **SURGERY, **({"clusters": "clustered"} if m >= MANY else {})}
    if not positive:
        del ways["log sum"]
    lr = float(dict(strategy.rule.arguments)["lr"])
    found = {}
    for name, way in ways.items():
        whole = parse(f"{strategy} | {way}")
        found[name] = space(whole, {f"{strategy.rule.name}.lr": log(lr / REACH, lr * REACH)})
    return found


def trial(
    task: Task, strategy: Strategy, trials: int, seeds: int, folder: Path | None, jobs: int | None, progress: bool
) -> list[dict[str, Any]]:
    """A row for each way: the log of the balanced loss over seeds, against the sum and against the best plain way."""
    judged = balanced(task)
    start = judged.evaluate(judged.build(0))[BALANCED]
    if not math.isfinite(start):  # losses that are not positive have no logarithm: the task's own metric decides
        judged = task  # type: ignore[assignment]
    competing = arms(strategy, len(task.losses), math.isfinite(start))
    board = compare(judged, competing, seeds, tune=trials, out=folder, jobs=jobs, progress=progress, monitor="off")
    measured: dict[str, list[dict[str, Any]]] = {}
    for name in competing:
        found = [read_result(run_folder(board.folder, judged.name, f"{name}, tuned", seed)) for seed in range(seeds)]
        measured[name] = [dict(r) for r in found if r is not None]
    rows = compared(measured, judged.metric, {name: str(s) for name, s in competing.items()})
    searches = read_json(board.folder / STUDY)["tasks"][judged.name]
    for row in rows:
        chosen = searches[f"{row['name']}, tuned"].get("chosen")
        row["chosen"] = None if chosen is None else chosen["strategy"]
    return rows


def compared(measured: dict[str, list[dict[str, Any]]], metric: str, texts: dict[str, str]) -> list[dict[str, Any]]:
    """The rows, best first among plain ways, then among those that compare gradients."""
    logs = metric == BALANCED
    values: dict[str, list[float]] = {}
    lost: dict[str, int] = {}
    for name, runs in measured.items():
        numbers = [r["validation"].get(metric) if r["status"] == "finished" else None for r in runs]
        lost[name] = sum(v is None or not math.isfinite(v) for v in numbers)
        values[name] = [] if lost[name] else [math.log(v) if logs else v for v in numbers if v is not None]
    plain = [n for n in values if n in SCALAR and values[n]]
    best = min(plain, key=lambda n: sum(values[n]), default=None)
    rows = []
    for name, found in values.items():
        row: dict[str, Any] = {
            "name": name,
            "space": texts[name],
            "compares": name not in SCALAR,
            "lost": lost[name],
            "values": found,
            "cpu_seconds": sum(r["cpu_seconds"] for r in measured[name]) / max(1, len(measured[name])),
        }
        if found:
            low, high = interval(found) if len(found) > 1 else (None, None)
            row |= {"mean": sum(found) / len(found), "low": low, "high": high}
            for against in {"sum", best} - {None, name}:
                if values[str(against)]:
                    row["against " + ("sum" if against == "sum" else "best plain")] = asdict(
                        paired(found, values[str(against)])
                    )
            if best == "sum" and name != "sum":
                row["against best plain"] = row["against sum"]
        row["best plain"] = name == best
        rows.append(row)
    tested = [r for r in rows if r["compares"] and "against best plain" in r]
    for row, p in zip(tested, holm([r["against best plain"]["p"] or 0.0 for r in tested]), strict=True):
        row["p"] = p
        row["pays"] = (
            p < ALPHA and row["against best plain"]["mean"] < 0 and bool(row["against best plain"]["separable"])
        )
    return sorted(rows, key=lambda r: (r["compares"], r.get("mean", math.inf)))
