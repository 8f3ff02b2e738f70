"""A table of real learning curves, so that samplers and schedulers are tested against training in milliseconds.

    python benchmarks/curves.py [--work FOLDER] [--out tests/tune/data/curves.npz]

Cheap tasks, for each one or two rules and a grid of strategies (learning rate, weight decay, momentum, clipping), 3
seeds, and complete runs of four lengths, each with a schedule of its own from beginning to end. Every run is trained in
a fleet; what it leaves is its validation loss at ten places, NaN from where it diverged on. Parts that are in the work
folder are not trained again, so a stopped call goes on. ``tests/tune/curves.py`` makes objectives of the table.

Losses are kept with 12 significant bits (a part in 4000), a tenth of what two seeds differ by.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steepest import tasks
from steepest.core.records import provenance
from steepest.fleet import Fleet, Member

OUT = Path(__file__).parents[1] / "tests" / "tune" / "data" / "curves.npz"
TABLES = (
    ("digits-mlp", "adamw"),
    ("digits-mlp", "sgd"),
    ("diabetes-mlp", "adamw"),
    ("diabetes-mlp", "sgd"),
    ("cancer-mlp", "adamw"),
    ("digits-multitask", "adamw"),
)
LENGTHS = (30, 60, 120, 240)
PLACES = 10
SEEDS = 3
GRIDS: dict[str, dict[str, list[float]]] = {
    "adamw": {
        "lr": [1e-4, 3.162e-4, 1e-3, 3.162e-3, 1e-2, 3.162e-2, 0.1, 0.3162, 1.0],
        "weight_decay": [1e-2, 0.1, 1.0],
        "beta1": [0.5, 0.9, 0.98],
        "max_norm": [0.1, 1.0, 10.0],
    },
    "sgd": {
        "lr": [1e-3, 3.162e-3, 1e-2, 3.162e-2, 0.1, 0.3162, 1.0, 3.162, 10.0],
        "weight_decay": [1e-5, 3.162e-4, 1e-2],
        "momentum": [0.5, 0.9, 0.98],
        "max_norm": [0.1, 1.0, 10.0],
    },
}
TEXTS = {
    "adamw": "adamw(lr={lr!r}, betas=({beta1!r}, 0.999), weight_decay={weight_decay!r})",
    "sgd": "sgd(lr={lr!r}, momentum={momentum!r}, nesterov=True, weight_decay={weight_decay!r})",
}
REST = " | warmup_cosine(warmup=0.1) | clip_norm({max_norm!r})"
BLOCK = 81


def strategies(rule: str) -> list[str]:
    """The texts of a grid, the last value running fastest."""
    grid = GRIDS[rule]
    points = (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    return [(TEXTS[rule] + REST).format(**point) for point in points]


def train(task: Any, texts: list[str], seed: int, steps: int) -> np.ndarray[Any, Any]:
    """Validation losses ``(members, places)`` of complete runs."""
    members = [Member(text, seed=seed) for text in texts]
    runs = Fleet(
        task, members, steps=steps, eval_every=steps // PLACES, log_every=steps, executor="stacked", threads=1
    ).run()
    if any(run.status == "stopped" for run in runs):
        raise SystemExit("stopped; the same call goes on.")
    found = np.full((len(texts), PLACES), np.nan, dtype=np.float32)
    for row, run in zip(found, runs, strict=True):
        for line in run.metrics("eval"):
            if line["step"]:
                row[line["step"] * PLACES // steps - 1] = line["loss"]
        if run.status == "diverged":
            row[-1] = np.nan
    return found


def short(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rounded to 12 significant bits, which compresses well."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.round(mantissa * 4096) / 4096, exponent).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/curves"), help="folder for the parts")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    made: dict[str, Any] = {}
    spent = 0.0
    for name, rule in TABLES:
        task, texts = tasks.load(name), strategies(rule)
        shape = (*map(len, GRIDS[rule].values()), SEEDS, len(LENGTHS), PLACES)
        table = np.empty((len(texts), *shape[-3:]), dtype=np.float32)
        for (at, steps), seed, low in itertools.product(enumerate(LENGTHS), range(SEEDS), range(0, len(texts), BLOCK)):
            part = given.work / f"{name}.{rule}.{steps}.{seed}.{low}.npz"
            if not part.exists():
                begin = time.process_time()
                losses = train(task, texts[low : low + BLOCK], seed, steps)
                temporary = part.with_name(f"tmp-{part.name}")
                np.savez(temporary, losses=losses, seconds=time.process_time() - begin)
                temporary.replace(part)
            with np.load(part) as saved:
                table[low : low + BLOCK, seed, at] = saved["losses"]
                spent += float(saved["seconds"])
        made[f"{name}/{rule}"] = short(table).reshape(shape)
        print(f"{name}, {rule}: best {np.nanmin(table[:, :, -1, -1]):.4g}, {spent:.0f} CPU-s so far", flush=True)
    about = {
        "tables": TABLES, "lengths": LENGTHS, "places": PLACES, "seeds": SEEDS, "grids": GRIDS, "texts": TEXTS,
        "rest": REST, "cpu_seconds": round(spent, 1), **provenance(),
    }  # fmt: skip
    given.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(given.out, about=np.array(json.dumps(about)), **made)
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB, {spent:.0f} CPU-s")


if __name__ == "__main__":
    main()
