"""What several losses cost: a step with a multi-task method over a plain step on the sum of the losses.

    python benchmarks/multitask.py [--out benchmarks/results/multitask.json] [--rounds N] [--device cuda]

A trunk of four layers of 512, heads of one unit, batch 128; forward, backward, combination (UPGrad) and a step of SGD.
All ways run in turn, round by round, in one process on one thread; the median of each counts, in CPU time, so that a
busy machine changes the ratios little. On CUDA the largest memory of a step is measured too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steepest.core.records import machine, versions
from steepest.multitask import UPGrad
from steepest.multitask.backward import MultiTask

TASKS = (2, 3, 8, 20)
WIDTH, DEPTH, BATCH = 512, 4, 128


class Net(nn.Module):
    """A trunk, and a head for each task."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        layers = [layer for _ in range(DEPTH) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, 1) for _ in range(tasks))

    def losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        h = self.trunk(x)
        return h, {str(i): (head(h)[:, 0] - y[:, i]).square().mean() for i, head in enumerate(self.heads)}


def ways(net: Net) -> dict[str, Callable[[Tensor, Tensor], None]]:
    """Each way of filling ``.grad``."""

    def plain(x: Tensor, y: Tensor) -> None:
        torch.stack(list(net.losses(x, y)[1].values())).sum().backward()

    def ours(level: Any, chunk: int) -> Callable[[Tensor, Tensor], None]:
        tasks = MultiTask(net, UPGrad(), level=level, chunk=chunk)
        return lambda x, y: tasks.backward(net.losses(x, y)[1])

    m = len(net.heads)
    found = {
        "plain": plain,
        "gramian": ours("gramian", 1),
        "gramian, all at once": ours("gramian", m),
        "jacobian": ours("jacobian", 1),
        "jacobian, all at once": ours("jacobian", m),
        "features": ours("features", 1),
    }
    try:
        from torchjd.aggregation import UPGrad as TheirUPGrad
        from torchjd.autojac import jac_to_grad, mtl_backward
    except ImportError:
        print("torchjd is not installed: left out")
        return found

    def peer(chunk: int | None) -> Callable[[Tensor, Tensor], None]:
        aggregator = TheirUPGrad()

        def backward(x: Tensor, y: Tensor) -> None:
            h, losses = net.losses(x, y)
            mtl_backward(list(losses.values()), features=h, parallel_chunk_size=chunk)
            jac_to_grad(net.trunk.parameters(), aggregator)

        return backward

    return {**found, "torchjd": peer(None), "torchjd, one by one": peer(1)}


def measure(tasks: int, rounds: int, device: str) -> dict[str, Any]:
    """Milliseconds a step by way, and on CUDA the largest memory beyond what stands there before."""
    torch.manual_seed(0)
    net = Net(tasks).to(device)
    x, y = torch.randn(BATCH, WIDTH, device=device), torch.randn(BATCH, tasks, device=device)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)
    seconds: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    to_try, before = ways(net), 0
    for turn in range(rounds + 2):
        for name, backward in to_try.items():
            optimizer.zero_grad()
            if device != "cpu":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            clock = time.process_time if device == "cpu" else time.perf_counter
            start = clock()
            backward(x, y)
            optimizer.step()
            if device != "cpu":
                torch.cuda.synchronize()
                memory[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
            if turn > 1:
                seconds.setdefault(name, []).append(clock() - start)
    found = {name: 1e3 * statistics.median(took) for name, took in seconds.items()}
    return {"ms": found, "times plain": {n: t / found["plain"] for n, t in found.items()}, "MiB": memory}


def main() -> None:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    result = {}
    for tasks in TASKS:
        result[tasks] = measure(tasks, args.rounds, args.device)
        for name, ratio in result[tasks]["times plain"].items():
            more = f"{result[tasks]['MiB'][name]:8.1f} MiB" if result[tasks]["MiB"] else ""
            print(f"{tasks:3} tasks  {name:24} {result[tasks]['ms'][name]:8.2f} ms  {ratio:6.2f} x {more}", flush=True)
    if args.out:
        where = machine() | versions()
        if args.device != "cpu":
            where |= {"device": torch.cuda.get_device_name()}
        args.out.write_text(json.dumps({"machine": where, "tasks": result}, indent=1) + "\n")
    else:
        print("nothing is kept: --out FILE writes the figures")


if __name__ == "__main__":
    main()
