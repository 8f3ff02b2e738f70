"""What it costs a sampler to be asked for several points at once: equal trials, the table of real learning curves.

    python benchmarks/batches.py [--sampler tpe] [--seeds 10] [--trials 48] [--out benchmarks/results/batches.json]

Two owners work on one search, as two processes do: each takes a batch, and hears of its values together when all have
ended; the other's batch is known as being run. ``one by one`` is a single owner that waits for every value. For each
table: the loss of the best trial (seed of the search), as the mean over seeds of the logarithm of its ratio to one by
one's, with the standard error of the paired differences. Above zero: worse.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from steepest.compare.budget import Budget
from steepest.core.records import provenance, write_json
from steepest.tasks.registry import load
from steepest.tune.batch import Batch
from steepest.tune.box import Box
from steepest.tune.objective import BlackBox
from steepest.tune.samplers import sampler
from steepest.tune.scheduler import Whole
from steepest.tune.search import Search
from steepest.tune.share import Share, divided
from steepest.tune.store import Memory
from steepest.tune.trial import best

HELPER = Path(__file__).parents[1] / "tests" / "tune" / "curves.py"
WAYS: dict[str, tuple[int, int | None]] = {
    "one by one": (1, 1),
    "two at a time": (2, 1),
    "batches that grow (the default)": (2, None),
    "batches of 8": (2, 8),
    "batches of 16": (2, 16),
}
"""Owners, and the size of a batch; None: the rule of steepest.tune.batch."""


def tables() -> list[Any]:
    """The tables, by the tests' own reader."""
    spec = importlib.util.spec_from_file_location("tune_curves", HELPER)
    assert spec and spec.loader
    module = sys.modules["tune_curves"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[Any] = module.tables()
    return found


def end(table: Any, name: str, trials: int, owners: int, size: int | None, seed: int) -> float:
    """The logarithm of the best loss that a search sees."""
    share: Share = divided(Budget(2.0 * trials, "runs"), [1.0], final=False)
    box, task = Box.of(table.space), load("digits-mlp")
    search = Search(Memory(), box, sampler(name, seed), Whole(trials), 2.0 * trials, seed, full=table.full)
    objective: Callable[..., Any] = BlackBox(lambda p, seed: table(p, seed=0), full=table.full)
    rule = Batch(at_once=owners, most=size)
    held: list[list[Any]] = []
    while True:
        while len(held) < owners:
            legs = search.take_some(1 if size == 1 else rule.count(search, task, share))
            if not legs:
                break
            held.append(legs)
        if not held:
            break
        for leg in held.pop(0):
            search.tell(leg, objective(leg))
    found = best(search.trials())
    assert found is not None and found.value is not None
    return math.log(found.value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--tables", type=int, default=4)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    all_gaps: dict[str, list[float]] = {}
    for table in tables()[: given.tables]:
        name = f"{table.task}, {table.rule}"
        ends = {
            way: np.array([end(table, given.sampler, given.trials, *how, seed) for seed in range(given.seeds)])
            for way, how in WAYS.items()
        }
        for way, of in ends.items():
            gaps = of - ends["one by one"]
            all_gaps.setdefault(way, []).extend(gaps.tolist())
            mean, error = float(gaps.mean()), float(gaps.std(ddof=1) / len(gaps) ** 0.5)
            print(f"{name:<22} {given.sampler} {given.trials}  {way:<32} {mean:+.4f} ± {error:.4f}", flush=True)
            rows.append({"table": name, "way": way, "mean": mean, "error": error})
    for way, every in all_gaps.items():
        mean, error = float(np.mean(every)), float(np.std(every, ddof=1) / len(every) ** 0.5)
        print(f"{'all':<22} {given.sampler} {given.trials}  {way:<32} {mean:+.4f} ± {error:.4f}", flush=True)
        rows.append({"table": "all", "way": way, "mean": mean, "error": error})
    if given.out is not None:
        about = {"sampler": given.sampler, "seeds": given.seeds, "trials": given.trials}
        write_json(given.out, {"rows": rows, **about, **provenance()})


if __name__ == "__main__":
    main()
