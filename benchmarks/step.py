"""How long does one optimizer step take, against torch.optim in the same run?

    python benchmarks/step.py [--out benchmarks/step.json] [--repeats 15] [--threads N] [--device cpu|cuda]

Four shapes of model, few large to many small tensors. The rows of a table are timed in turns (round robin), so that
a disturbance of the machine meets all rows alike; figures are medians. GB/s counts the bytes that the rule must move
(read parameter, gradient and state; write parameter and state), so a fused kernel cannot look better than it is.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steepest import optim

Step = Callable[[], object]


def gpt() -> list[tuple[int, ...]]:
    """98 tensors of a small GPT: 8 layers of width 512, 8192 tokens."""
    d, layer = 512, []
    for _ in range(8):
        layer += [(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    return [(8192, d), *layer, (d,)]


MODELS: dict[str, list[tuple[int, ...]]] = {
    "(a) 98 GPT-shaped tensors": gpt(),
    "(b) 4 tensors of 2048x1024": [(2048, 1024)] * 4,
    "(c) 500 tensors of 48x48": [(48, 48)] * 500,
    "(d) digits MLP": [(128, 64), (128,), (128, 128), (128,), (10, 128), (10,)],
}

# bytes a parameter: read p, g and the states, write p and the states
RULES: dict[str, tuple[Any, dict[str, Any], int]] = {
    "SGD": (optim.SGD, {}, 12),
    "SGD momentum": (optim.SGD, {"momentum": 0.9}, 20),
    "Adagrad": (optim.Adagrad, {}, 20),
    "RMSprop": (optim.RMSprop, {}, 20),
    "Adadelta": (optim.Adadelta, {}, 28),
    "Adam": (optim.Adam, {}, 28),
    "AMSGrad": (optim.AMSGrad, {}, 36),
    "NAdam": (optim.NAdam, {}, 28),
    "NAdamW": (optim.NAdamW, {}, 28),
    "RAdam": (optim.RAdam, {}, 28),
    "Adamax": (optim.Adamax, {}, 28),
    "Lion": (optim.Lion, {}, 20),
}
PEERS = ("SGD", "SGD momentum", "Adagrad", "RMSprop", "Adadelta", "Adam", "NAdam", "RAdam", "Adamax")


def parameters(shapes: Sequence[tuple[int, ...]], device: str) -> list[nn.Parameter]:
    """Random parameters with random gradients."""
    make = torch.Generator(device).manual_seed(0)
    out = []
    for shape in shapes:
        p = nn.Parameter(torch.randn(shape, generator=make, device=device) * 0.02)
        p.grad = torch.randn(shape, generator=make, device=device) * 0.01
        out.append(p)
    return out


def clipped(params: list[nn.Parameter], step: Step) -> Step:
    """What torch's users write: clip, then step."""

    def run() -> None:
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        step()

    return run


def medians(rows: dict[str, Step], repeats: int, device: str) -> dict[str, float]:
    """Median seconds of each row, timed in turns."""
    took: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(repeats + 3):
        for name, step in rows.items():
            begin = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            took[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times[3:]) for name, times in took.items()}


def adamw_table(shapes: Sequence[tuple[int, ...]], repeats: int, device: str) -> dict[str, Any]:
    """AdamW against torch's three, with and without clipping."""

    def fresh() -> list[nn.Parameter]:  # each row has its own, so that none finds its data in cache
        return parameters(shapes, device)

    behind = fresh()
    rows: dict[str, Step] = {
        "torch default": torch.optim.AdamW(fresh(), foreach=False).step,
        "torch foreach": torch.optim.AdamW(fresh(), foreach=True).step,
        "torch fused": torch.optim.AdamW(fresh(), fused=True).step,
        "steepest": optim.AdamW(fresh()).step,
        "steepest, no compiler": optim.AdamW(fresh(), executor="blocked").step,
        "clip_grad_norm_ + torch fused": clipped(behind, torch.optim.AdamW(behind, fused=True).step),
        "steepest with clip_norm": optim.AdamW(fresh(), clip_norm=1.0).step,
        "steepest with clip_norm and guard": optim.AdamW(fresh(), clip_norm=1.0, nonfinite="skip").step,
    }
    seconds = medians(rows, repeats, device)
    size = sum(p.numel() for p in behind)
    plain, clip = seconds["torch fused"], seconds["clip_grad_norm_ + torch fused"]
    return {
        name: {
            "ms": round(1e3 * s, 4),
            "GB/s": round((28 + 4 * ("clip" in name)) * size / s / 1e9, 2),
            "ratio": round(s / (clip if "clip" in name else plain), 3),
        }
        for name, s in seconds.items()
    }


def rules_table(shapes: Sequence[tuple[int, ...]], repeats: int, device: str) -> dict[str, Any]:
    """Every rule: bytes per second as a share of torch's fused AdamW, and the speed-up over torch's own class."""
    size = sum(torch.Size(shape).numel() for shape in shapes)
    rows: dict[str, Step] = {"torch fused AdamW": torch.optim.AdamW(parameters(shapes, device), fused=True).step}
    for name, (kind, kwargs, _) in RULES.items():
        rows[name] = kind(parameters(shapes, device), **kwargs).step
        if name in PEERS:
            peer = getattr(torch.optim, name.split()[0])
            rows[f"torch {name}"] = peer(parameters(shapes, device), **kwargs).step
    seconds = medians(rows, repeats, device)
    roof = 28 * size / seconds["torch fused AdamW"]
    table: dict[str, Any] = {"torch fused AdamW": {"ms": round(1e3 * seconds["torch fused AdamW"], 3)}}
    for name, (_, _, moved) in RULES.items():
        s = seconds[name]
        table[name] = {
            "ms": round(1e3 * s, 3),
            "GB/s": round(moved * size / s / 1e9, 2),
            "bandwidth of torch fused AdamW": round(moved * size / s / roof, 3),
            "times faster than torch": round(seconds[f"torch {name}"] / s, 2) if name in PEERS else None,
        }
    return table


def training_step(repeats: int, device: str) -> dict[str, Any]:
    """(d) again, the whole of it: forward, backward and step of the digits MLP at batch 64."""

    def trainer(make: Callable[[Any], torch.optim.Optimizer], clip: bool = False) -> Step:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)).to(
            device
        )
        x, y = torch.randn(64, 64, device=device), torch.randint(0, 10, (64,), device=device)
        opt = make(net.parameters())

        def run() -> None:
            for _ in range(20):
                opt.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                if clip:
                    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                opt.step()

        return run

    rows = {
        "torch fused AdamW": trainer(lambda p: torch.optim.AdamW(p, fused=True)),
        "steepest AdamW": trainer(optim.AdamW),
        "clip_grad_norm_ + torch fused AdamW": trainer(lambda p: torch.optim.AdamW(p, fused=True), clip=True),
        "steepest AdamW with clip_norm": trainer(lambda p: optim.AdamW(p, clip_norm=1.0)),
    }
    seconds = medians(rows, repeats, device)
    plain, clip = seconds["torch fused AdamW"], seconds["clip_grad_norm_ + torch fused AdamW"]
    return {
        name: {"ms": round(50 * s, 4), "ratio": round(s / (clip if "clip" in name else plain), 3)}
        for name, s in seconds.items()
    }


FIRST = """
import sys, time, torch
from steepest.optim import AdamW
ps = [torch.nn.Parameter(torch.randn(64, 64)) for _ in range(int(sys.argv[1]))]
for p in ps: p.grad = torch.randn_like(p)
opt = AdamW(ps, clip_norm=1.0)
begin = time.perf_counter(); opt.step(); first = time.perf_counter() - begin
begin = time.perf_counter(); opt.step(); print(first, time.perf_counter() - begin)
"""


def first_step() -> dict[str, float]:
    """Seconds of the first step, with an empty kernel cache (cold) and a filled one (warm), for 10 and 1000 tensors."""
    out = {}
    for tensors in (10, 1000):
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                env = {**os.environ, "STEEPEST_CACHE": cache}
                said = subprocess.check_output([sys.executable, "-c", FIRST, str(tensors)], env=env, text=True)
                out[f"{state}, {tensors} tensors"] = round(float(said.split()[0]), 3)
    return out


def recompilations(device: str) -> int:
    """Kernels built while learning rate, betas, weight decay, eps and clip threshold all move for 50 steps."""
    from steepest.core.executors import native

    opt = optim.AdamW(parameters(MODELS["(d) digits MLP"], device), clip_norm=1.0)
    opt.step()
    before = len(native._kernels)
    for t in range(50):
        moved = {
            "lr": 1e-3 / (t + 1),
            "betas": (0.9 - 0.001 * t, 0.99),
            "weight_decay": 0.01 * t,
            "eps": 1e-8 * (t + 1),
        }
        opt.param_groups[0].update(moved)
        opt.gradients[0][1]["max_norm"] = 1.0 + t
        opt.step()
    return len(native._kernels) - before


MEMORY = """
import sys, torch
from pathlib import Path
from steepest import optim
def peak():  # of this program alone; getrusage would inherit the parent's
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
ps = [torch.nn.Parameter(torch.zeros(1024, 1024)) for _ in range(64)]
for p in ps: p.grad = torch.ones_like(p)
opt = {"steepest": lambda: optim.AdamW(ps, clip_norm=1.0), "torch fused": lambda: torch.optim.AdamW(ps, fused=True),
       "torch foreach": lambda: torch.optim.AdamW(ps, foreach=True)}[sys.argv[1]]()
for p in ps: p.data.fill_(0.5)
base = peak()
for _ in range(3): opt.step()
print((peak() - base) / sum(p.numel() for p in ps))
"""


def peak_memory() -> dict[str, float]:
    """Bytes a parameter that three steps add to the peak of the process (state included: 8 for AdamW)."""
    return {
        name: round(float(subprocess.check_output([sys.executable, "-c", MEMORY, name], text=True)), 2)
        for name in ("steepest", "torch fused", "torch foreach")
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def show(title: str, table: dict[str, Any]) -> None:
    """Print a table of rows of figures."""
    print(f"\n{title}")
    width = max(len(name) for name in table) + 2
    for name, row in table.items():
        cells = row.items() if isinstance(row, dict) else [("", row)]
        print("  " + name.ljust(width) + "   ".join(f"{key} {'-' if v is None else v}" for key, v in cells))


def main() -> None:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    load = os.getloadavg()[0]
    results: dict[str, Any] = {
        "machine": {
            "processor": processor() if args.device == "cpu" else torch.cuda.get_device_name(),
            "threads": args.threads,
            "load at start": round(load, 2),
            "system": platform.platform(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "AdamW": {},
        "rules": {},
    }
    for name, shapes in MODELS.items():
        results["AdamW"][name] = adamw_table(shapes, args.repeats, args.device)
        show(
            f"AdamW, {name}: ratio to torch fused (with clipping: to clip_grad_norm_ + torch fused)",
            results["AdamW"][name],
        )
    for name in list(MODELS)[1:3]:
        results["rules"][name] = rules_table(MODELS[name], args.repeats, args.device)
        show(f"Every rule, {name}", results["rules"][name])
    results["training step"] = training_step(args.repeats, args.device)
    show("Whole training step of the digits MLP", results["training step"])
    results["first step, seconds"] = first_step()
    show("First step, seconds", results["first step, seconds"])
    results["recompilations while hyperparameters move"] = recompilations(args.device)
    print("\nKernels built while hyperparameters move:", results["recompilations while hyperparameters move"])
    results["peak memory, bytes a parameter"] = peak_memory()
    show("Peak memory that steps add, bytes a parameter", results["peak memory, bytes a parameter"])
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
