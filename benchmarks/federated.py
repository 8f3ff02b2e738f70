"""Client updates a second: a federation in one stack, beside a plain PyTorch loop over the same clients and batches.

    python benchmarks/federated.py [--clients 100] [--rounds 20] [--repeats 3] [--only mlp] [--out FILE]

Digits dealt by Dirichlet(0.3), batches of 8, one epoch, SGD 0.1, every client in every round. The plain loop has one
model, torch's own SGD and a mean weighted by rows, and nothing else: no records, no checks of what arrives. Both see
the same batches; how far their weights are apart at the end is printed. Ways are run by turns on one thread, a first
turn of each is not counted (in it the stack finds out what a pass consists of), and medians are taken. Processor time
is what to compare on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import steepest as st
from steepest.core.records import machine, versions
from steepest.federated.rounds import Rounds
from steepest.tasks.task import Task

RATE, BATCH = 0.1, 8


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def task(name: str) -> Task:
    return replace(st.tasks.load("digits-mlp"), name=f"digits, {name}", model={"mlp": mlp, "cnn": cnn}[name])


class Plain:
    """One model, client after client."""

    def __init__(self, fed: st.Federation) -> None:
        self.fed, self.model = fed, fed.model()
        self.turn = 0

    def round(self) -> None:
        fed, model, t = self.fed, self.model, self.turn
        self.turn += 1
        sizes = fed.clients.sizes
        able = fed.clients.able
        work = fed.clients.work(able, t, BATCH, 1)
        start = [p.detach().clone() for p in model.parameters()]
        total = [torch.zeros_like(p) for p in start]
        whole = float(sizes[able].sum())
        for place, client in enumerate(able):
            with torch.no_grad():
                for p, w in zip(model.parameters(), start, strict=True):
                    p.copy_(w)
            optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
            for step in range(int(work.steps[place])):
                batch = fed.clients.batch(work, place, step)
                optimizer.zero_grad()
                fed.task.loss(fed.task.forward(model, batch), batch).backward()
                optimizer.step()
            with torch.no_grad():
                for sum_, p in zip(total, model.parameters(), strict=True):
                    sum_ += (float(sizes[client]) / whole) * p
        with torch.no_grad():
            for p, mean in zip(model.parameters(), total, strict=True):
                p.copy_(mean)

    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])


class Ours:
    """The federation itself, by one of its engines: all that a run does but measuring and writing."""

    def __init__(self, fed: st.Federation, rounds: int) -> None:
        self.rounds = Rounds(fed, rounds, rounds, None, "")
        self.rounds.lines = []
        self.rounds._prepare()

    def round(self) -> None:
        self.rounds.round()

    def weights(self) -> torch.Tensor:
        return self.rounds.server.weights().float()


def measured(way: Any, rounds: int) -> tuple[float, float]:
    """Seconds and processor seconds of some rounds."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(rounds):
        way.round()
    return time.perf_counter() - wall, time.process_time() - cpu


def case(name: str, clients: int, rounds: int, repeats: int) -> dict[str, Any]:
    """One row of the table."""

    def fed(engine: Any) -> st.Federation:
        return st.Federation(
            task(name), st.federated.dirichlet(clients, alpha=0.3), f"fedavg(client=sgd(lr={RATE}))",
            batch_size=BATCH, engine=engine,
        )  # fmt: skip

    every = rounds * (repeats + 1)
    ways: dict[str, Callable[[], Any]] = {
        "plain loop": lambda: Plain(fed("loop")),
        "loop": lambda: Ours(fed("loop"), every),
        "stacked": lambda: Ours(fed("stacked"), every),
    }
    made = {label: make() for label, make in ways.items()}
    able = len(fed("loop").clients.able)
    found: dict[str, list[tuple[float, float]]] = {label: [] for label in made}
    for turn in range(repeats + 1):
        for label, way in made.items():
            times = measured(way, rounds)
            if turn:
                found[label].append(times)
    weights = {label: way.weights() for label, way in made.items()}
    row: dict[str, Any] = {
        "model": name,
        "parameters": task(name).parameters(),
        "clients": clients,
        "updates": able * rounds,
        "apart": float((weights["stacked"] - weights["plain loop"]).abs().max()),
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for label, times in found.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        row[label] = {"per_second": able * rounds / wall, "cpu_seconds": cpu, "seconds": wall}
    row["wall_ratio"] = row["plain loop"]["seconds"] / row["stacked"]["seconds"]
    row["cpu_ratio"] = row["plain loop"]["cpu_seconds"] / row["stacked"]["cpu_seconds"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[100])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("mlp", "cnn"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in [given.only] if given.only else ["mlp", "cnn"]:
        for clients in given.clients:
            row = case(name, clients, given.rounds, given.repeats)
            rows.append(row)
            said = ", ".join(f"{w} {row[w]['per_second']:.0f}/s ({row[w]['cpu_seconds']:.2f} CPU-s)" for w in
                             ("plain loop", "loop", "stacked"))  # fmt: skip
            print(f"{name} ({row['parameters']} parameters), {clients} clients, {row['updates']} updates: {said}; "
                  f"stacked over plain: {row['wall_ratio']:.1f} by clock, {row['cpu_ratio']:.1f} by processor time; "
                  f"weights apart {row['apart']:.1e}; peak {row['peak_MB']:.0f} MB", flush=True)  # fmt: skip
    if given.out:
        given.out.write_text(json.dumps({"machine": machine(), "versions": versions(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
