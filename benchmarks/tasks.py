"""What does a step of each task cost? Prints the tables of docs/tasks.md.

    python benchmarks/tasks.py [--write | --show] [task ...]

A step is a batch, a forward pass and a backward pass on one thread; the update is left out, for tasks know none.
Times are medians of CPU milliseconds, so a busy machine changes them little. Floating-point operations are those of
products of matrices and of convolutions, as torch counts them. ``--write`` puts the numbers, with machine and versions,
into src/steepest/tasks/costs.json, from where ``steepest list tasks`` has them; ``--show`` prints what is there.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from steepest import tasks
from steepest.core.records import provenance, read_json, write_json
from steepest.tasks.measured import target
from steepest.tasks.suites import SUITES

COSTS = Path(__file__).parents[1] / "src" / "steepest" / "tasks" / "costs.json"


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


def operations(task: tasks.Task) -> int:
    """Floating-point operations of a step; the fused LSTM is taken apart, for torch does not count inside it."""
    model, batch = task.build(0), task.batches(0).batch(0)
    with warnings.catch_warnings(), FlopCounterMode(display=False) as counter:
        warnings.simplefilter("ignore")  # of settings of mkldnn that are not touched here
        with torch.backends.mkldnn.flags(enabled=False):
            task.training_loss(model, batch).backward()
    return int(counter.get_total_flops())


def every() -> list[str]:
    """The built-in tasks, and what else the suites name."""
    return [*tasks.names(), *sorted({name for suite in SUITES.values() for name in suite} - {*tasks.names()})]


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
        "parameters": task.parameters(),
        "samples": task.record()["samples"]["train"],
        "batch": task.batch_size if task.train is not None else None,
        "steps": task.steps,
        "flops": operations(task),
        "load_s": load,
        "batch_ms": median_ms(order.batch, at_least=0.1),
        "step_ms": step,
        "evaluation_ms": evaluation,
        "run_s": (task.steps * step + task.steps // task.eval_interval * evaluation) / 1e3,
    }


def whole(n: int | None) -> str:
    """A count with its thousands apart, or "none"."""
    return "none" if n is None else f"{n:,}".replace(",", " ")


def operations_text(flops: float) -> str:
    """Millions, to three digits or whole."""
    return f"{flops / 1e6:.0f}" if flops >= 1e8 else f"{flops / 1e6:.3g}"


def table(costs: dict[str, Any]) -> str:
    """What the tasks cost, in Markdown."""
    lines = [
        "| task | parameters | training samples | batch | steps | step, MFLOP | step, ms | evaluation, ms | run, s |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for name, c in costs.items():
        cells = [f"`{name}`", *(whole(c[what]) for what in ("parameters", "samples", "batch", "steps"))]
        cells += [operations_text(c["flops"]), f"{c['step_ms']:.2f}", f"{c['evaluation_ms']:.1f}", f"{c['run_s']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def purposes() -> str:
    """Why each task is there, and how it is judged, in Markdown."""
    lines = ["| task | reason | chooses | also reported | target |", "| --- | --- | --- | --- | --: |"]
    for name, made in tasks.catalogue().items():
        task = tasks.load(name)
        others = ", ".join(f"`{m}`" for m in task.metrics if m != task.metric)
        solved = "not measured yet" if target(name) is None else f"{target(name):.4g}"
        if target(name) is None and task.target is not None:
            solved = f"{task.target:g} (above the optimum)"
        lines.append(f"| `{name}` | {made.reason} | {task.metric} | {others} | {solved} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="default: every built-in task")
    parser.add_argument("--write", action="store_true", help=f"keep the numbers in {COSTS.name}")
    parser.add_argument("--show", action="store_true", help="print what is kept, and measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = read_json(COSTS)["tasks"] if COSTS.exists() else {}
    if options.show:
        costs = {name: kept[name] for name in options.tasks or kept}
    else:
        costs = {name: measure(name) for name in options.tasks or every()}
    print(purposes(), table(costs), sep="\n\n")
    if options.write:
        merged = {name: {**kept, **costs}[name] for name in every() if name in kept or name in costs}
        write_json(COSTS, {**provenance(), "threads": 1, "tasks": merged})


if __name__ == "__main__":
    main()
