"""Train the network of ``neuron_graph``, with its neurons and without.

    python -m steepest.graph.meta [--only nodes|edges] [--out runs/meta] [--updates N] [--minutes M] [--device cuda]
    python -m steepest.graph.meta --write src/steepest/rules/neuron_graph.json

A training goes on from its last checkpoint, with the same numbers as without the stop; ``--minutes`` are of the
processor, after which it stops. More ``--pairs`` make better steps at more cost: on a CUDA device they are nearly free.
``--write``, with the arguments of the training, takes the weights of both as they are.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path

import torch

from steepest.core.records import write_bytes
from steepest.graph.meta.families import TRAIN
from steepest.graph.meta.training import MetaTraining, Plan


def main() -> None:
    """Train, or write the weights down."""
    parser = argparse.ArgumentParser(
        prog="python -m steepest.graph.meta", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["nodes", "edges"])
    parser.add_argument("--out", type=Path, default=Path("runs/meta"))
    parser.add_argument("--updates", type=int, default=Plan.updates)
    parser.add_argument("--pairs", type=int, default=Plan.pairs)
    parser.add_argument("--whole", action="store_true", help="train the first layers too: wants ten times the updates")
    parser.add_argument("--tasks", type=int, default=Plan.tasks)
    parser.add_argument("--lr", type=float, default=Plan.lr)
    parser.add_argument("--families", nargs="+", choices=[f.name for f in TRAIN], default=[])
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write takes both trainings: leave --only away.")
    torch.set_num_threads(1)
    trainings = {}
    for which in [options.only] if options.only else ["nodes", "edges"]:
        plan = Plan(
            nodes=which == "nodes",
            updates=options.updates,
            pairs=options.pairs,
            tasks=options.tasks,
            whole=options.whole,
            seed=options.seed,
            lr=options.lr,
            families=tuple(options.families),
        )
        trainings[which] = MetaTraining(plan, options.out / which, options.device)
        if not options.write:
            trainings[which].train(minutes=options.minutes)
            print(f"{which}: {trainings[which].update} of {plan.updates} updates, {trainings[which].seconds:.0f} s")
    if options.write:
        kept = {which: [float(f"{x:.6g}") for x in t.theta.tolist()] for which, t in trainings.items()}
        planned = dataclasses.asdict(trainings["nodes"].plan)
        about: dict[str, object] = {"plan": {name: value for name, value in planned.items() if name != "nodes"}}
        about |= {f"{which} updates": t.update for which, t in trainings.items()}
        write_bytes(options.write, (json.dumps(about | kept) + "\n").encode())


if __name__ == "__main__":
    main()
