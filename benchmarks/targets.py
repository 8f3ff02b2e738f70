"""What is a good result on each task? Sets the targets of the built-in tasks, as AlgoPerf does (arXiv:2306.07179).

    OMP_NUM_THREADS=1 python benchmarks/targets.py [--minutes 3] [--keep runs/targets] [task ...]

Four baselines are searched with equal effort: POINTS settings each, scrambled Sobol points of the ranges below, one
run a point; the best two of each get two more seeds; the setting with the best median of three is run again with
RERUNS fresh seeds. What a run is worth is the best validation metric among its evaluations, and nothing if it
diverged. The target is the median of the reruns, so the best baseline itself reaches it in half of its runs, and no
lucky run sets it. The test split is not read.

Every finished run is a line in FOLDER/<task>.jsonl, and is not run again: stop the script at any time (``--minutes``
stops it by itself) and start it again. A task that is complete is written to src/steepest/tasks/targets.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from steepest import tasks
from steepest.core.records import lock, plain, provenance, read_json, slug, write_json
from steepest.fit import fit
from steepest.tasks.suites import SUITES

TARGETS = Path(__file__).parents[1] / "src" / "steepest" / "tasks" / "targets.json"
POINTS, CHOSEN, RERUNS = 10, 2, 11
SEARCH, AGAIN, FRESH = 0, (1, 2), tuple(range(1000, 1000 + RERUNS))
CLIPS, WARMUPS = (None, 1.0), (0.02, 0.05, 0.1)


class Point(NamedTuple):
    """A point of the unit cube; each baseline reads it in its own units."""

    lr: float
    momentum: float
    memory: float
    decay: float
    warmup: float
    clip: float

    def schedule(self) -> str:
        """Warm-up, cosine and clipping, the same for all baselines."""
        clip = CLIPS[int(self.clip * len(CLIPS))]
        warmup = WARMUPS[int(self.warmup * len(WARMUPS))]
        return f"warmup_cosine(warmup={warmup})" + ("" if clip is None else f" | clip_norm({clip})")


def log(low: float, high: float, u: float) -> float:
    """The point ``u`` of a range, evenly in the logarithm, to three digits."""
    return float(f"{low * (high / low) ** u:.3g}")


def sgd(p: Point) -> str:
    m = 1 - log(0.02, 0.3, p.momentum)
    return f"sgd(lr={log(3e-3, 1, p.lr)}, momentum={m:.4g}, weight_decay={log(1e-6, 1e-2, p.decay)}, nesterov=True)"


def adam_like(name: str) -> Callable[[Point], str]:
    def write(p: Point) -> str:
        betas = f"({1 - log(0.02, 0.3, p.momentum):.4g}, {1 - log(1e-3, 0.1, p.memory):.4g})"
        return f"{name}(lr={log(3e-4, 0.1, p.lr)}, betas={betas}, weight_decay={log(1e-3, 1, p.decay)})"

    return write


def lion(p: Point) -> str:
    betas = f"({1 - log(0.02, 0.3, p.momentum):.4g}, {1 - log(1e-3, 0.1, p.memory):.4g})"
    return f"lion(lr={log(3e-5, 0.01, p.lr)}, betas={betas}, weight_decay={log(1e-2, 10, p.decay)})"


BASELINES: dict[str, Callable[[Point], str]] = {
    "sgd": sgd,
    "adamw": adam_like("adamw"),
    "nadamw": adam_like("nadamw"),
    "lion": lion,
}


def settings(baseline: str) -> list[str]:
    """The settings that are tried of a baseline; all baselines read the same points."""
    points = torch.quasirandom.SobolEngine(len(Point._fields), scramble=True, seed=0).draw(POINTS)
    return [f"{BASELINES[baseline](p)} | {p.schedule()}" for p in (Point(*row) for row in points.tolist())]


class Runs:
    """The finished runs of one task, kept in a file."""

    def __init__(self, task: tasks.Task, path: Path, until: float) -> None:
        self.task, self.path, self.until = dataclasses.replace(task, test=None), path, until
        lines = path.read_text().splitlines() if path.exists() else []
        self.done = {(line["strategy"], line["seed"]): line for line in map(json.loads, lines)}

    def value(self, strategy: str, seed: int) -> float:
        """What a run is worth: small is good, whatever the metric; infinite for a run that diverged."""
        if (strategy, seed) not in self.done:
            if time.monotonic() > self.until:
                raise TimeoutError
            line = self.run(strategy, seed)
            with self.path.open("a") as file:
                file.write(json.dumps(plain(line)) + "\n")
            self.done[strategy, seed] = line
        best = self.done[strategy, seed]["best"]
        return math.inf if best is None else best if self.task.goal == "min" else -best

    def run(self, strategy: str, seed: int) -> dict[str, Any]:
        began = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = fit(self.task, strategy, seed=seed, threads=1, progress=False, monitor="off")
        if run.status == "stopped":
            raise KeyboardInterrupt
        values = [float(line[self.task.metric]) for line in run.metrics("eval")]
        best = (min if self.task.goal == "min" else max)(values) if run.status == "finished" else None
        return {
            "strategy": strategy,
            "seed": seed,
            "status": run.status,
            "best": best,
            "last": values[-1],
            "cpu_seconds": round(time.process_time() - began, 3),
        }


def measure(runs: Runs) -> dict[str, Any]:
    """The target of a task, and how it came about."""
    chosen: list[tuple[float, str, str]] = []
    search: dict[str, Any] = {}
    for baseline in BASELINES:
        tried = settings(baseline)
        tried.sort(key=lambda s: runs.value(s, SEARCH))
        failed = sum(math.isinf(runs.value(s, SEARCH)) for s in tried)
        again = [
            (statistics.median(runs.value(s, seed) for seed in (SEARCH, *AGAIN)), baseline, s) for s in tried[:CHOSEN]
        ]
        median, _, best = min(again)
        search[baseline] = {"median of three": median, "strategy": best, "points": POINTS, "diverged": failed}
        chosen += again
    _, baseline, strategy = min(chosen)
    sign = 1 if runs.task.goal == "min" else -1
    reruns = [sign * runs.value(strategy, seed) for seed in FRESH]
    for row in search.values():
        row["median of three"] *= sign
    return {
        "target": float(f"{statistics.median(reruns):.4g}"),
        "metric": runs.task.metric,
        "goal": runs.task.goal,
        "steps": runs.task.steps,
        "baseline": baseline,
        "strategy": strategy,
        "reruns": sorted(float(f"{value:.6g}") for value in reruns),
        "search": search,
        "runs": len(runs.done),
        "cpu_seconds": round(sum(line["cpu_seconds"] for line in runs.done.values())),
        "facts": dict(runs.task.facts),
    }


def unmeasured(names: list[str]) -> Iterator[str]:
    """Those of the tasks that have no target, cheap ones first as the suites list them."""
    kept = read_json(TARGETS) if TARGETS.exists() else {}
    return (name for name in names if name not in kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="default: every task of the full suite that has no target yet")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after the run that is under way then")
    parser.add_argument("--keep", type=Path, default=Path("runs/targets"), help="folder of the finished runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    until = time.monotonic() + 60 * options.minutes
    for name in options.tasks or unmeasured(list(SUITES["full"])):
        task = tasks.load(name)
        folder = options.keep / slug(task.name)
        with lock(folder):
            runs = Runs(task, folder / "runs.jsonl", until)
            try:
                made = measure(runs)
            except TimeoutError:
                print(f"{task.name}: {len(runs.done)} runs are done; go on with the same command", flush=True)
                return
        with lock(options.keep, patience=60):
            kept = read_json(TARGETS) if TARGETS.exists() else {}
            entry = {**made, **{k: v for k, v in provenance().items() if k != "command"}}
            write_json(TARGETS, dict(sorted({**kept, task.name: entry}.items())))
        print(f"{task.name}: {made['metric']} {made['target']:g} by {made['strategy']}", flush=True)


if __name__ == "__main__":
    main()
