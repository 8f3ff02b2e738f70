"""What watching costs: the time of a training run with each preset over that of the same run without a monitor.

    python benchmarks/monitor.py [--out benchmarks/results/monitor.json] [--repeats N]

Runs are interleaved, on one thread, in one process, and measured in CPU time, which a busy machine spares; a run is as
long as is said, with the first probes inside. The least of the repeats counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import steepest as st
from steepest.core.records import machine, versions
from steepest.monitor import PRESETS, Monitor
from steepest.monitor.writers import Records

STEPS = {"digits-mlp": 1500, "digits-cnn": 300, "char-transformer": 120}
STRATEGY = "adamw(lr=1e-3) | clip_norm(1)"


def run(name: str, preset: str, kind: str, folder: Path) -> tuple[float, dict[str, Any]]:
    """CPU seconds of a run's steps, and what the monitor says of itself."""
    task = st.tasks.load(name)
    model, batches = task.build(0), task.batches(0)
    optimizer: Any = st.parse(STRATEGY).optimizer(model, steps=STEPS[name])
    if kind == "torch":
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    watching = None
    if preset != "off":
        records = Records(folder)
        watching = Monitor(model, optimizer, replace(PRESETS[preset]), [records], task.training_loss).attach()
    ready = [batches.batch(t) for t in range(STEPS[name])]
    gc.collect()
    start = time.process_time()
    for batch in ready:
        if watching is not None:
            watching.see(batch)
        optimizer.zero_grad()
        task.training_loss(model, batch).backward()
        optimizer.step()
    seconds = time.process_time() - start
    if watching is None:
        return seconds, {}
    watching.detach()
    records.close()
    return seconds, watching.summary()


def main() -> None:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    measured: dict[str, Any] = {}
    for kind in ("steepest", "torch"):
        for name, steps in STEPS.items():
            seconds: dict[str, list[float]] = {}
            said: dict[str, Any] = {}
            for repeat in range(args.repeats):
                for preset in ("off", *PRESETS):
                    with tempfile.TemporaryDirectory() as folder:
                        took, told = run(name, preset, kind, Path(folder))
                    seconds.setdefault(preset, []).append(took)
                    said[preset] = told
                    print(kind, name, repeat, preset, f"{took:.2f} s", told.get("overhead"), flush=True)
            alone = min(seconds["off"])
            measured.setdefault(kind, {})[name] = {
                "steps": steps,
                "ms a step": 1e3 * alone / steps,
                "percent": {p: 100 * (min(seconds[p]) / alone - 1) for p in PRESETS},
                "own percent": {p: 100 * (said[p]["overhead"] or 0.0) for p in PRESETS},
            }
    if args.out:
        args.out.write_text(json.dumps({"machine": {**machine(), **versions()}, "overhead": measured}, indent=1) + "\n")
    else:
        print("nothing is kept: --out FILE writes the figures")


if __name__ == "__main__":
    main()
