"""Which way to combine several losses is best, where each is tuned alike?

    nice -n 15 python benchmarks/multitask_methods.py --work FOLDER [--task NAME] [--minutes N] [--out FILE]

On each task of the suite "multitask" every way has the same number of trials for its learning rate, in the three rounds
of a tuned comparison (half cover the range, a quarter goes on beyond the ends that are near, a quarter repeats the best
on another seed), then ten fresh seeds. What is compared is the geometric mean of the tasks' losses on validation data,
in which half of any loss counts alike; the difference to the tuned sum is paired over seeds, corrected by Holm.

A folder is gone on with, trial by trial; --minutes stops in time. One process, one thread; the CPU time of all runs is
part of the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from steepest.advisor.balanced import BALANCED, balanced
from steepest.compare.arms import Arm
from steepest.compare.plan import Ground, Job, run_folder
from steepest.compare.scoring import STUDY
from steepest.compare.search import ROUNDS
from steepest.compare.statistics import holm, paired
from steepest.compare.statistics.paired import interval
from steepest.compare.study import Study
from steepest.core.records import plain, provenance, read_result
from steepest.fit import fit
from steepest.strategy.space import space
from steepest.tasks import load
from steepest.tasks.suites import SUITES

RULE = "adamw(lr=log(3e-4, 3e-2)) | cosine"
TRIALS = 5
SEEDS = 10
STEPS = {"digits-multitask": 250, "two-scales": 250, "planted-clusters": 120, "digits-overlay": 250}
PLAIN = {
    "tuned sum": "task_sum",
    "random weights (RLW)": "rlw",
    "uncertainty (UW)": "uncertainty",
    "log sum": "log_sum",
    "FAMO": "famo",
}
COMPARED = {
    "PCGrad": "pcgrad",
    "CAGrad": "cagrad",
    "Nash-MTL": "nash_mtl",
    "UPGrad": "upgrad",
    "ConFIG": "conflict_free",
    "M-ConFIG": "momentum_conflict_free",
    "Auto-lambda": "auto_lambda(lr=1e-3)",
    "UPGrad in Adam's metric": "preconditioned(upgrad())",
    "UPGrad, smoothed": "smoothed(upgrad())",
    "UPGrad across clusters": "clustered(upgrad())",
}
WEIGHED = "sum, weights tuned too"
LEFT_OUT = {
    "digits-multitask": ("M-ConFIG", "Auto-lambda", "ConFIG", "UPGrad across clusters", "UPGrad, smoothed", "PCGrad"),
    "digits-overlay": ("M-ConFIG", "Auto-lambda", "ConFIG", "UPGrad across clusters", "UPGrad, smoothed", "PCGrad"),
    "planted-clusters": (
        "M-ConFIG",
        "Auto-lambda",
        "ConFIG",
        "UPGrad in Adam's metric",
        "PCGrad",
        "CAGrad",
        "Nash-MTL",
    ),
}
"""What a task goes without, to keep the whole within an hour; the four plain ways stand everywhere."""


def ways(task: str, m: int) -> dict[str, str]:
    """The space of each way; for two or three tasks the sum with weights from the same trials as well."""
    found = {name: f"{RULE} | {way}" for name, way in {**PLAIN, **COMPARED}.items()}
    found = {name: text for name, text in found.items() if name not in LEFT_OUT.get(task, ())}
    if m == 2:
        found[WEIGHED] = f"{RULE} | task_weights(weights=(1.0, log(1e-3, 1e3)))"
    if m == 3:
        found[WEIGHED] = f"{RULE} | task_weights(weights=(1.0, log(0.03, 30.0), log(0.03, 30.0)))"
    return found


class Late(Exception):
    """Time is up; the next call goes on."""


def run(job: Job, until: float) -> None:
    """One run, unless it is there."""
    if read_result(job.folder) is not None:
        return
    if time.monotonic() > until:
        raise Late
    fit(
        job.ground.task,
        job.candidate.strategy,
        seed=job.seed,
        out=job.folder,
        resume=job.folder.exists(),
        progress=False,
        monitor="off",
    )


def measure(name: str, work: Path, until: float, seeds: int) -> dict[str, Any]:
    """Search, then the final runs; the rows of the table."""
    task = load(name)
    m = len(task.losses)
    task = dataclasses.replace(balanced(task), steps=STEPS[name], eval_every=STEPS[name])
    spaces = ways(name, m)
    arms = [Arm(label, "tuned", (space(text),), None, TRIALS) for label, text in spaces.items()]
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    ground = Ground(task, None)
    study = Study(folder, [ground], arms)
    for number in range(len(ROUNDS)):
        study.plan(number)
        for job in study.jobs():
            run(job, until)
        study.save()
    for job in study.finals(range(seeds)):
        run(job, until)
    chosen = json.loads((folder / STUDY).read_text())["tasks"][task.name]
    return {
        "task": name,
        "tasks": m,
        "steps": task.steps,
        "batch": task.batch_size,
        "trials": TRIALS,
        "seeds": seeds,
        "rows": rows(folder, task.name, list(spaces), chosen, list(task.losses), seeds),
    }


def rows(
    folder: Path, task: str, labels: list[str], chosen: Any, losses: list[str], seeds: int
) -> list[dict[str, Any]]:
    values, found = {}, {}
    for label in labels:
        results = [read_result(run_folder(folder, task, label, seed)) for seed in range(seeds)]
        found[label] = [r for r in results if r is not None]
        numbers = [r["validation"].get(BALANCED) if r["status"] == "finished" else None for r in found[label]]
        values[label] = [math.log(v) for v in numbers if v is not None and math.isfinite(v)]
    whole = [label for label in labels if len(values[label]) == seeds]
    against = {label: paired(values[label], values["tuned sum"]) for label in whole if label != "tuned sum"}
    corrected = dict(zip(against, holm([d.p or 0.0 for d in against.values()]), strict=True))
    made = []
    for label in labels:
        row: dict[str, Any] = {
            "label": label,
            "chosen": (chosen[label].get("chosen") or {}).get("strategy"),
            "near_edges": (chosen[label].get("chosen") or {}).get("near_edges"),
            "lost": seeds - len(values[label]),
            "cpu_seconds": sum(r["cpu_seconds"] for r in found[label]) / len(found[label]),
        }
        if label in whole:
            low, high = interval(values[label])
            row |= {"balanced": [math.exp(v) for v in (sum(values[label]) / seeds, low, high)]}
            row["losses"] = {n: sum(r["validation"][n] for r in found[label]) / seeds for n in losses}
        if label in against:
            d = against[label]
            assert d.low is not None and d.high is not None
            row |= {"against_sum": [math.expm1(v) for v in (d.mean, d.low, d.high)], "p": corrected[label]}
        made.append(row)
    return sorted(made, key=lambda r: r.get("balanced", [math.inf])[0])


def shown(row: dict[str, Any]) -> str:
    """A row for people."""
    if "balanced" not in row:
        return f"  {row['label']:26} {row['lost']} runs lost"
    said = ""
    if "against_sum" in row:
        mean, low, high = (100 * v for v in row["against_sum"])
        said = f"{mean:+7.1f} % [{low:+.1f}, {high:+.1f}]  p {row['p']:.3g}"
    return f"  {row['label']:26} {row['balanced'][0]:9.4g}  {row['cpu_seconds']:5.2f} s  {said}"


def spent(work: Path) -> float:
    """CPU seconds of all runs in a folder, trials too."""
    return sum(float(json.loads(p.read_text()).get("cpu_seconds") or 0) for p in work.rglob("result.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the runs are kept here")
    parser.add_argument("--task", action="append", choices=SUITES["multitask"])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    until = time.monotonic() + 60 * options.minutes
    found = []
    for name in options.task or SUITES["multitask"]:
        try:
            one = measure(name, options.work, until, options.seeds)
        except Late:
            print(f"{name}: not done yet; the same command goes on", flush=True)
            continue
        found.append(one)
        print(f"\n{name}: {one['tasks']} tasks, {one['steps']} steps", flush=True)
        for row in one["rows"]:
            print(shown(row), flush=True)
    cpu = spent(options.work)
    print(f"\n{cpu / 60:.1f} CPU minutes in all runs", flush=True)
    if options.out and found:
        kept = plain({"rule": RULE, "tasks": found, "cpu_minutes": cpu / 60, **provenance()})
        options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
