"""Does it pay to let weights jump to where their way points, and when?

    python benchmarks/nowcast.py [--seeds 10] [--work FOLDER] [--minutes M] [--out benchmarks/results/nowcast.json]

AdamW with and without ``nowcast``, each with the same sweep: five learning rates, constant and falling (cosine), three
seeds a setting. Then the best setting of each on fresh seeds, paired; and both at a tenth of the base's best rate, kept
constant: the kind of baseline against which predicted weights are usually shown. Losses are those on validation data at
the end. A folder given by --work is gone on with, run by run. One thread; CPU seconds hold snapshots and looks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from steepest.compare.statistics import paired
from steepest.core.records import plain, provenance
from steepest.fit import fit

TASKS = ("cancer-mlp", "diabetes-mlp", "digits-mlp", "deep-linear")
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SCHEDULES = {"constant": "", "cosine": " | cosine"}
ARMS = {"base": "", "nowcast": " | nowcast(every=50)"}
SWEEP, FRESH = range(3), 100

Run = Callable[..., dict[str, Any]]


def strategy(arm: str, lr: float, schedule: str) -> str:
    return f"adamw(lr={lr:g}){SCHEDULES[schedule]}{ARMS[arm]}"


class Runs:
    """Runs that are made once, and kept as lines of a file."""

    def __init__(self, work: Path | None, minutes: float) -> None:
        self.path = None if work is None else work / "runs.jsonl"
        self.until = time.monotonic() + 60 * minutes
        self.known: dict[str, dict[str, Any]] = {}
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for line in self.path.read_text().splitlines() if self.path.exists() else ():
                entry = json.loads(line)
                self.known[entry["key"]] = entry

    def __call__(self, task: str, text: str, seed: int) -> dict[str, Any]:
        key = f"{task} {seed} {text}"
        if key not in self.known:
            if time.monotonic() > self.until:
                raise SystemExit("the time is up; the same call goes on")
            run = fit(task, text, seed=seed, monitor="off", progress=False)
            looks = run.metrics("nowcast")
            entry = {
                "key": key,
                "status": run.status,
                "loss": run.result["validation"]["loss"],
                "cpu": run.result["cpu_seconds"],
                "looks": len(looks),
                "accepted": sum(look["accepted"] for look in looks),
                "passes": sum(look["passes"] for look in looks),
            }
            self.known[key] = entry
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps(plain(entry)) + "\n")
        return self.known[key]


def swept(run: Run, task: str, arm: str) -> tuple[float, str]:
    """The learning rate and the schedule with the lowest mean loss; a run that was lost rules its setting out."""
    found = []
    for lr in RATES:
        for schedule in SCHEDULES:
            runs = [run(task, strategy(arm, lr, schedule), seed) for seed in SWEEP]
            if all(r["status"] == "finished" for r in runs):
                found.append((sum(r["loss"] for r in runs) / len(runs), lr, schedule))
    _, lr, schedule = min(found)
    return lr, schedule


def rows(run: Run, seeds: int) -> Iterator[dict[str, Any]]:
    for task in TASKS:
        best = {arm: swept(run, task, arm) for arm in ARMS}
        slow = best["base"][0] / 10, "constant"
        for where, settings in (("tuned", best), ("a tenth of the rate, constant", dict.fromkeys(ARMS, slow))):
            found = {arm: [run(task, strategy(arm, *settings[arm]), FRESH + k) for k in range(seeds)] for arm in ARMS}
            base, ours = ([r["loss"] for r in found[arm]] for arm in ARMS)
            difference = paired(ours, base)
            yield {
                "task": task,
                "where": where,
                "settings": {arm: strategy(arm, *settings[arm]) for arm in ARMS},
                "base": sum(base) / seeds,
                "nowcast": sum(ours) / seeds,
                "difference": difference.mean,
                "low": difference.low,
                "high": difference.high,
                "looks": sum(r["looks"] for r in found["nowcast"]),
                "accepted": sum(r["accepted"] for r in found["nowcast"]),
                "passes": sum(r["passes"] for r in found["nowcast"]) / seeds,
                "cpu": sum(r["cpu"] for r in found["nowcast"]) / sum(r["cpu"] for r in found["base"]),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for row in rows(Runs(given.work, given.minutes), given.seeds):
        found.append(row)
        print(
            f"{row['task']:14} {row['where']:30} {row['base']:.4g} -> {row['nowcast']:.4g} "
            f"({row['difference']:+.3g} [{row['low']:+.3g}, {row['high']:+.3g}])  {row['accepted']} of {row['looks']} "
            f"looks taken, {row['passes']:.0f} passes a run, CPU {row['cpu']:.2f}  {row['settings']['nowcast']}",
            flush=True,
        )
    if given.out is not None:
        record = {"rows": found, "seeds": given.seeds, "rates": RATES, "arms": ARMS, **provenance()}
        given.out.write_text(json.dumps(plain(record), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
