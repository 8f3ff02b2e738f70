"""Is the learned direction of ``neuron_graph`` better than AdamW's, where AdamW is tuned and both get the same trials?

    python benchmarks/neuron_graph.py [TASK ...] [--work runs/neuron_graph] [--seeds 5] [--out FILE.json] [--minutes M]

Every arm is tuned alike: five learning rates by three schedules, one seed, the lowest validation loss at the end. Then
its best setting runs with fresh seeds. Arms: AdamW; neuron_graph; the same without its neurons; and a placebo, a
network at the same distance from the untrained one in a random direction. The target is the median over AdamW's seeds
of its lowest validation loss; steps to it are read where the split is evaluated. Data and architectures are none of
those that the network was trained on. Runs are kept in the work folder, and a benchmark that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import steepest as st
from steepest.core.records import machine, versions
from steepest.rules.neurons import kept, untrained

TASKS = ("digits-mlp", "cancer-mlp", "diabetes-mlp", "digits-cnn", "gcn-partition")
RATES = (3e-4, 1e-3, 2e-3, 4e-3, 1e-2)
SCHEDULES = ("constant", "cosine", "wsd")
TUNING, FIRST = 1000, 0
"""The seed of trials, and the first of final runs."""


def arms(work: Path) -> dict[str, str]:
    """Every arm's rule, with room for a learning rate."""
    placebo = work / "placebo.json"
    if not placebo.exists():
        work.mkdir(parents=True, exist_ok=True)
        placebo.write_text(json.dumps({name: random_network(name == "nodes").tolist() for name in ("nodes", "edges")}))
    return {
        "adamw": "adamw(lr={lr})",
        "neuron_graph": "neuron_graph(lr={lr})",
        "without nodes": "neuron_graph(lr={lr}, nodes=False)",
        "placebo": f"neuron_graph(lr={{lr}}, weights={str(placebo)!r})",
    }


def random_network(nodes: bool) -> torch.Tensor:
    """As far from the untrained network as the trained one, each kind of weight by itself, in a random direction."""
    make = torch.Generator().manual_seed(0)
    base, learned = untrained(nodes), kept(nodes=nodes)
    noise = torch.randn(len(base), generator=make, dtype=torch.float64)
    return base + noise * (learned - base).norm() / noise.norm()


class Kept:
    """Finished runs in a file, one a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.runs = {json.loads(x)["key"]: json.loads(x) for x in lines}

    def run(self, task: str, text: str, seed: int) -> dict[str, Any]:
        """One run, or what is known of it."""
        key = f"{task} | {text} | {seed}"
        if key not in self.runs:
            start = time.process_time()
            run = st.fit(task, text, seed=seed, progress=False)
            seconds = time.process_time() - start
            if run.status == "stopped":
                raise SystemExit("stopped; the same command goes on")
            curve = [(x["step"], x["loss"]) for x in run.metrics("eval") if x["split"] == "validation"]
            train = [x["loss"] for x in run.metrics("train")][-20:]
            found = {"key": key, "status": run.status, "curve": curve, "cpu_seconds": round(seconds, 3),
                     "train": statistics.fmean(train) if train else None}  # fmt: skip
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(found) + "\n")
            self.runs[key] = found
        return self.runs[key]


def final(run: dict[str, Any]) -> float:
    """The validation loss at the end; infinite where it diverged."""
    value = run["curve"][-1][1] if run["curve"] and run["status"] == "finished" else None
    return math.inf if value is None else float(value)


def lowest(run: dict[str, Any]) -> float:
    """The lowest validation loss of the run."""
    return min((x for _, x in run["curve"] if x is not None and math.isfinite(x)), default=math.inf)


def steps_to(run: dict[str, Any], target: float) -> float:
    """The first evaluated step at the target, infinite where there is none."""
    return next((float(step) for step, x in run["curve"] if x is not None and x <= target), math.inf)


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean, and a 95 % interval by the bootstrap."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(1)
    return float(np.mean(values)), *(float(x) for x in np.quantile(draws, [0.025, 0.975]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--work", type=Path, default=Path("runs/neuron_graph"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=math.inf, help="of the processor, then stop and go on later")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs, rows = Kept(options.work / "runs.jsonl"), []
    for task in options.tasks:
        chosen: dict[str, list[dict[str, Any]]] = {}
        settings: dict[str, str] = {}
        for arm, rule in arms(options.work).items():
            texts = [f"{rule.format(lr=lr)} | {schedule}" for lr in RATES for schedule in SCHEDULES]
            trials = []
            for text in texts:
                if time.process_time() > 60 * options.minutes:
                    raise SystemExit("stopped; the same command goes on")
                trials.append(final(runs.run(task, text, TUNING)))
            settings[arm] = texts[int(np.argmin(trials))]
            chosen[arm] = [runs.run(task, settings[arm], FIRST + i) for i in range(options.seeds)]
        target = statistics.median(lowest(run) for run in chosen["adamw"])
        for arm, of in chosen.items():
            beside = interval([final(a) - final(b) for a, b in zip(of, chosen["adamw"], strict=True)])
            steps = [steps_to(run, target) for run in of]
            rows.append({
                "task": task, "arm": arm, "setting": settings[arm], "final": [final(run) for run in of],
                "lowest": [lowest(run) for run in of], "train": [run["train"] for run in of], "beside": beside,
                "steps": [None if math.isinf(s) else s for s in steps], "cpu_seconds": [r["cpu_seconds"] for r in of],
            })  # fmt: skip
            row = rows[-1]
            median = statistics.median(steps)
            print(f"| `{task}` | {arm} | `{settings[arm]}`".replace(" | c", " \\| c").replace(" | w", " \\| w"),
                  f"| {np.mean(row['final']):.4f} | {beside[0]:+.4f} [{beside[1]:+.4f}, {beside[2]:+.4f}]",
                  f"| {np.mean(row['lowest']):.4f} | {np.mean([x or math.nan for x in row['train']]):.4f}",
                  f"| {'never' if math.isinf(median) else int(median)}",
                  f"| {statistics.median(row['cpu_seconds']):.2f} |", flush=True)  # fmt: skip
    if options.out:
        found = {"machine": machine(), "versions": versions(), "seeds": options.seeds, "rates": RATES,
                 "schedules": SCHEDULES, "rows": rows}  # fmt: skip
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
