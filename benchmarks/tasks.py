"""What does a step of each task cost? Prints the table of docs/tasks.md.

    python benchmarks/tasks.py [--json benchmarks/results/tasks.json] [task ...]

A step is a batch, a forward pass and a backward pass on one thread; the update is left out, for tasks know none.
Times are medians of CPU milliseconds, so a busy machine changes them little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from steepest import tasks
from steepest.core.records import provenance


def median_ms(function: Callable[[int], object], warm: int = 3, at_least: float = 1.0) -> float:
    """Median CPU milliseconds of ``function(i)``, over at least 9 calls and ``at_least`` seconds."""
    for i in range(warm):
        function(i)
    times: list[float] = []
    while len(times) < 9 or (sum(times) < at_least and len(times) < 2000):
        start = time.process_time()
        function(len(times))
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def measure(name: str) -> dict[str, Any]:
    """Size and cost of one task."""
    start = time.perf_counter()
    task = tasks.load(name)
    load = time.perf_counter() - start
    model, order = task.build(0), task.batches(0)
    parameters = list(model.parameters())
    step = median_ms(lambda i: torch.autograd.grad(task.training_loss(model, order.batch(i)), parameters))
    evaluation = median_ms(lambda _: task.evaluate(model), warm=1)
    return {
        "task": name,
        "parameters": task.parameters(),
        "samples": task.record()["samples"]["train"],
        "batch": task.batch_size if task.train is not None else None,
        "steps": task.steps,
        "load_s": load,
        "batch_ms": median_ms(order.batch, at_least=0.1),
        "step_ms": step,
        "evaluation_ms": evaluation,
        "run_s": (task.steps * step + task.steps // task.eval_interval * evaluation) / 1e3,
    }


def whole(n: int | None) -> str:
    """A count with its thousands apart, or "none"."""
    return "none" if n is None else f"{n:,}".replace(",", " ")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| task | parameters | training samples | batch | steps | batch, ms | step, ms | evaluation, ms | run, s |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for r in rows:
        cells = [f"`{r['task']}`", *(whole(r[c]) for c in ("parameters", "samples", "batch", "steps"))]
        cells += [f"{r['batch_ms']:.3f}", f"{r['step_ms']:.2f}", f"{r['evaluation_ms']:.1f}", f"{r['run_s']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="default: every built-in task")
    parser.add_argument("--json", type=Path, help="also write the numbers, with machine and versions, here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(name) for name in options.tasks or tasks.names()]
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps({**provenance(), "threads": 1, "tasks": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
