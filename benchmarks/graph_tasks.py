"""Strategies for graph networks, ten seeds each, on the tasks of ``steepest.graph``.

    python benchmarks/graph_tasks.py [TASK ...] [--folder runs/graph] [--seeds 10] [--out FILE.json]

The settings are those that are usual, not tuned on these tasks; ``gnn`` is there with its decay on the first layer, on
all layers, and without. A study in the folder goes on where it stopped. Prints the validation loss at the end of a run,
mean and standard deviation over seeds, the test error, and the difference from ``gnn`` seed by seed with its 95 %
interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import steepest as st
from steepest.core.records import machine, versions

TASKS = ("gcn-partition", "gcn-partition(depth=8, norm='pair')", "import-graph", "molecules")
ARMS = {
    "gnn": "gnn",
    "gnn, decay everywhere": "adam(lr=0.01, weight_decay=0.0005)",
    "gnn, no decay": "adam(lr=0.01)",
    "adamw, cosine": "adamw(lr=0.01, weight_decay=0.05) | cosine",
    "sgd, cosine": "sgd(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0005) | cosine",
}


def interval(differences: list[float]) -> tuple[float, float, float]:
    """Mean, and a 95 % interval by the bootstrap."""
    values = np.array(differences)
    draws = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS, help="default: all four")
    parser.add_argument("--folder", type=Path, default=Path("runs/graph"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for task in options.tasks:
        losses: dict[str, list[float]] = {}
        for arm, text in ARMS.items():
            for seed in range(options.seeds):
                place = (
                    options.folder / task.replace("'", "").replace(" ", "") / arm.replace(", ", "-").replace(" ", "_")
                )
                run = st.fit(task, text, seed=seed, out=place / str(seed), resume=True, progress=False)
                losses.setdefault(arm, []).append(run.validation["loss"])
                error = (run.test or {}).get("error", (run.test or {}).get("absolute"))
                rows.append({"task": task, "arm": arm, "seed": seed, "loss": losses[arm][-1], "test": error,
                             "status": run.status})  # fmt: skip
    print("| task | strategy | validation loss | test error | loss beside `gnn` [95 %] |")
    print("| --- | --- | --: | --: | --: |")
    for task in options.tasks:
        of = {arm: [r for r in rows if r["task"] == task and r["arm"] == arm] for arm in ARMS}
        base = [r["loss"] for r in of["gnn"]]
        for arm, text in ARMS.items():
            values, tests = [r["loss"] for r in of[arm]], [r["test"] for r in of[arm]]
            mean, low, high = interval([a - b for a, b in zip(values, base, strict=True)])
            beside = "" if arm == "gnn" else f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
            shown = text.replace("|", "\\|")
            print(f"| `{task}` | `{shown}` | {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} "
                  f"| {np.mean(tests):.3f} | {beside} |")  # fmt: skip
    if options.out:
        found = {"machine": machine(), "versions": versions(), "seeds": options.seeds, "arms": ARMS, "runs": rows}
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
