"""Member-steps a second: a fleet in one stack, beside a plain PyTorch loop that trains the members one after another.

    python benchmarks/fleet.py [--only digits-mlp] [--seconds 0.4] [--out FILE]

The loop has torch's own fused AdamW and nothing else (no schedule, no log). ``processes`` is that loop in as many
processes at once as there are cores. The stack is a whole fleet: batches, gradients, the strategy with a schedule of
its own for each member, the watch for divergence, metrics every 100 steps. Rounds are interleaved; the median counts.
Written to benchmarks/results/fleet.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import steepest as st
from steepest.core.records import cores, machine, versions
from steepest.fit.plan import Plan
from steepest.fleet import Stacked
from steepest.fleet.choice import sizes
from steepest.tasks.task import Task

CASES = [
    ("digits-mlp", 16, (8, 32, 100)),
    ("digits-cnn", 16, (32,)),
    ("char-lstm", 16, (16,)),
    ("char-transformer", 16, (16,)),
]
ROUNDS = 3
WARM = 4
"""Steps that are not counted: a pass is written down at the second and proven at the third."""
OUT = Path(__file__).parent / "results" / "fleet.json"


def loop(task: Task, seconds: float) -> float:
    """Steps a second of one model after another."""
    model, batches = task.build(0), task.batches(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    begin, steps = 0.0, 0
    while True:
        if steps == 3:
            begin = time.perf_counter()
        elif steps > 3 and time.perf_counter() - begin > seconds:
            return (steps - 3) / (time.perf_counter() - begin)
        batch = batches.batch(steps)
        optimizer.zero_grad()
        task.training_loss(model, batch).backward()
        optimizer.step()
        steps += 1


def _in_process(name: str, batch: int, seconds: float, pipe: Any) -> None:
    torch.set_num_threads(1)
    pipe.send(loop(_task(name, batch), seconds))


def processes(name: str, batch: int, seconds: float) -> float:
    """The same loop in a process for each core, all at once; starting them is not counted."""
    context = multiprocessing.get_context("fork")
    pairs = []
    for _ in range(cores()):
        here, there = context.Pipe()
        process = context.Process(target=_in_process, args=(name, batch, seconds, there))
        process.start()
        pairs.append((process, here))
    total = sum(here.recv() for _, here in pairs)
    for process, _ in pairs:
        process.join()
    return float(total)


def _block(plans: list[Plan], seconds: float, pipe: Any) -> None:
    torch.set_num_threads(1)
    with Stacked(plans, [None] * len(plans), 1) as live:
        pipe.send(stacked(live, seconds))


def blocks(plans: list[Plan], size: int, seconds: float) -> float:
    """A stack of ``size`` members on each core; what they train next begins when they end."""
    context = multiprocessing.get_context("fork")
    pairs = []
    for i in range(cores()):
        here, there = context.Pipe()
        process = context.Process(target=_block, args=(plans[i * size : (i + 1) * size], seconds, there))
        process.start()
        pairs.append((process, here))
    total = sum(here.recv() for _, here in pairs)
    for process, _ in pairs:
        process.join()
    return float(total)


def stacked(live: Stacked, seconds: float) -> float:
    """Member-steps a second of a stack."""
    for _ in range(WARM):
        live.step()
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        live.step()
        steps += len(live.active)
    return steps / (time.perf_counter() - begin)


def _task(name: str, batch: int) -> Task:
    return replace(st.tasks.load(name), batch_size=batch, steps=100_000, eval_every=100_000)


def main() -> None:
    """Measure, print a table and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.only in ("", case[0])]
    table = json.loads(arguments.out.read_text())["cases"] if arguments.out.exists() and arguments.only else {}
    heads = ("task", "members", "loop", "processes", "one stack", "blocks", "over loop", "over processes")
    print(" | ".join(heads))
    for name, batch, counts in cases:
        task = _task(name, batch)
        for members in counts:
            seen: dict[str, list[float]] = {}
            plans = [
                Plan(task, st.parse(f"adamw(lr={1e-3 * (1 + k / members):.6g}) | cosine"), k, log_every=100)
                for k in range(members)
            ]
            for _ in range(ROUNDS):
                torch.set_num_threads(1)
                seen.setdefault("processes", []).append(processes(name, batch, arguments.seconds))
                for size in sizes(members, cores()):
                    seen.setdefault(f"blocks of {size}", []).append(blocks(plans, size, arguments.seconds))
                for threads in (1, cores()):
                    torch.set_num_threads(threads)
                    seen.setdefault(f"loop {threads}", []).append(loop(task, arguments.seconds))
                    with Stacked(plans, [None] * members, threads) as live:
                        seen.setdefault(f"stacked {threads}", []).append(stacked(live, arguments.seconds))
            rate = {way: statistics.median(rates) for way, rates in seen.items()}
            plain = max(rate["loop 1"], rate[f"loop {cores()}"])
            one = max(rate["stacked 1"], rate[f"stacked {cores()}"])
            split = max(rate[f"blocks of {size}"] for size in sizes(members, cores()))
            best = max(one, split)
            row = {
                "batch": batch,
                "rates": rate,
                "spread": {way: [min(rates), max(rates)] for way, rates in seen.items()},
                "over loop": best / plain,
                "over processes": best / rate["processes"],
            }
            table[f"{name} x {members}"] = row
            print(
                f"{name} | {members} | {plain:.0f} | {rate['processes']:.0f} | {one:.0f} | "
                f"{split:.0f} | {best / plain:.1f} | {best / rate['processes']:.1f}",
                flush=True,
            )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": {**machine(), **versions()}, "cases": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
