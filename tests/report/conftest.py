"""Folders of records, made without training anything."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steepest.core.records import slug, write_json

STRATEGIES = {
    "sgd": "sgd(lr=0.1, momentum=0.9) | cosine() | clip_norm(max_norm=5.0)",
    "adamw": "adamw(lr=0.003) | warmup_cosine(warmup=0.05) | clip_norm(max_norm=1.0)",
    "transformer": "transformer()",
}
FINALS = {"sgd": 0.30, "adamw": 0.25, "transformer": 0.26}


def write_run(
    folder: Path,
    task: str,
    label: str,
    text: str,
    seed: int,
    *,
    steps: int = 300,
    status: str = "finished",
    final: float = 0.25,
    stop: int | None = None,
    skipped: int = 0,
    message: str = "",
) -> dict[str, Any]:
    """One run: a loss that falls like exp(-t) with noise to ``final``; a diverged one rises from ``stop`` / 2 on."""
    rng = np.random.default_rng(seed * 97 + sum(map(ord, label + task)))
    end = steps if stop is None else stop
    write_json(
        folder / "run.json", {"task": task, "strategy": text, "label": label, "seed": seed, "steps": steps, "schema": 1}
    )
    lines = []
    offset = 0.01 * seed + 0.004 * float(rng.standard_normal())

    def clean(step: int) -> float:
        value = final + offset + 2.2 * math.exp(-6 * step / steps)
        return value * math.exp((step - end / 2) / 3) if status == "diverged" and step > end / 2 else value

    evaluation = {"kind": "eval", "split": "validation"}
    lines.append({**evaluation, "step": 0, "loss": clean(0), "accuracy": 0.1})
    for step in range(1, end + 1):
        norm = float(2.5 * math.exp(-2 * step / steps) * rng.lognormal(0, 0.35))
        loss = clean(step) * float(rng.lognormal(0, 0.12))
        lr = 0.003 * min(1, step / 15) * 0.5 * (1 + math.cos(math.pi * step / steps))
        limit = 1.0 if label != "sgd" else 5.0
        line = {"kind": "train", "step": step, "loss": loss if math.isfinite(loss) else None, "lr": lr}
        lines.append({**line, "grad_norm": norm, "clip_factor": min(1.0, limit / norm)})
        if step % 25 == 0 or step == steps:
            value = clean(step)
            lines.append({**evaluation, "step": step, "loss": value, "accuracy": max(0.1, 1 - 0.35 * min(value, 2.5))})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if status == "unfinished":
        return {}
    bad = status != "finished"
    validation = {"loss": None if bad else clean(end), "accuracy": None if bad else 1 - 0.35 * clean(end)}
    result = {
        "status": status,
        "steps": end,
        "gradient_evaluations": end,
        "seconds": 3.2 + 0.1 * seed,
        "cpu_seconds": 3.0 + 0.1 * seed,
        "validation": validation,
        "test": None if bad else {"loss": clean(end) + 0.02, "accuracy": 0.9},
        "best_validation": None if bad else clean(end),
        "time_to_target_steps": None if bad else 220,
        "skipped_steps": skipped,
        "message": message,
    }
    write_json(folder / "result.json", result)
    return result


def write_experiment(
    folder: Path,
    *,
    tasks: tuple[str, ...] = ("digits-cnn", "char-transformer"),
    strategies: Mapping[str, str] = STRATEGIES,
    seeds: int = 5,
    steps: int = 300,
    summary: bool = True,
    runs: Mapping[tuple[str, str, int], Mapping[str, Any] | None] | None = None,
) -> Path:
    """A comparison; ``runs`` says what is different about some runs, None that a run is missing."""
    runs = runs or {}
    write_json(
        folder / "experiment.json",
        {
            "schema": 1,
            "kind": "comparison",
            "command": f"steepest compare {' '.join(tasks)} --seeds {seeds} --out runs/first",
            "tasks": [
                {"name": task, "metric": "loss", "goal": "min", "steps": steps, "batch_size": 64, "eval_every": 25}
                | {"target": 0.3, "optimum": None, "parameters": 14_234, "description": f"A made-up {task}."}
                for task in tasks
            ],
            "strategies": [{"label": label, "text": text} for label, text in strategies.items()],
            "seeds": list(range(seeds)),
            "versions": {"steepest": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
            "machine": {"cpu": "A processor", "cores": 2, "system": "Linux 6.1"},
            "commit": "0123abc",
            "created": "2026-11-20T12:00:00+00:00",
        },
    )
    boards: dict[str, Any] = {}
    for task in tasks:
        values: dict[str, list[float | None]] = {}
        for label, text in strategies.items():
            for seed in range(seeds):
                special = runs.get((task, label, seed), {})
                if special is None:
                    continue
                settings = {"steps": steps, "final": FINALS.get(label, 0.4), **special}
                place = folder / "runs" / task / slug(label) / f"seed-{seed}"
                result = write_run(place, task, label, text, seed, **settings)
                values.setdefault(label, []).append((result.get("validation") or {}).get("loss"))
        boards[task] = {"metric": "loss", "goal": "min", "leaderboard": _board(strategies, values), "verdict": ""}
        best = boards[task]["leaderboard"][0]["label"]
        boards[task]["verdict"] = f"On {task}, {best} is best; transformer is not separable from it."
    if summary:
        overall = {"verdict": "adamw is best on 2 of 2 tasks; transformer is not separable from it.", "ranks": []}
        write_json(folder / "summary.json", {"schema": 1, "tasks": boards, "overall": overall})
    return folder


def _board(strategies: Mapping[str, str], values: Mapping[str, list[float | None]]) -> list[dict[str, Any]]:
    def mean(label: str) -> float:
        kept = [value for value in values.get(label, []) if value is not None]
        return float(np.mean(kept)) if kept else math.inf

    order = sorted(strategies, key=mean)
    rows = []
    for rank, label in enumerate(order, start=1):
        kept = [value for value in values.get(label, []) if value is not None]
        gap = mean(label) - mean(order[0])
        rows.append(
            {
                "label": label,
                "text": strategies[label],
                "rank": rank,
                "n": len(kept),
                "diverged": len(values.get(label, [])) - len(kept),
                "failed": 0,
                "validation": {
                    "mean": mean(label),
                    "sd": float(np.std(kept, ddof=1)) if len(kept) > 1 else None,
                    "values": values.get(label, []),
                },
                "test": {"mean": mean(label) + 0.02, "sd": 0.01},
                "seconds": {"mean": 3.4},
                "cpu_seconds": {"mean": 3.2},
                "gradient_evaluations": {"mean": 300},
                "time_to_target": {"steps": 220, "reached": len(kept), "n": 5},
                "against_best": {
                    "difference": gap if rank > 1 else None,
                    "low": gap - 0.015 if rank > 1 else None,
                    "high": gap + 0.015 if rank > 1 else None,
                    "p_better": 0.2 if rank > 1 else None,
                    "separable": gap > 0.015 if rank > 1 else None,
                },
            }
        )
    return rows


@pytest.fixture
def experiment() -> Callable[..., Path]:
    """The maker of comparison folders."""
    return write_experiment


@pytest.fixture
def single() -> Callable[..., Any]:
    """The maker of single-run folders."""
    return write_run


@pytest.fixture
def rough(tmp_path: Path) -> Path:
    """A comparison where one run diverged, one failed, and steps were skipped."""
    return write_experiment(
        tmp_path / "first",
        runs={
            ("digits-cnn", "sgd", 2): {
                "status": "diverged",
                "stop": 120,
                "message": "loss above 1e6 at step 120",
                "skipped": 3,
            },
            ("char-transformer", "transformer", 4): {"status": "failed", "stop": 40, "message": "worker was killed"},
        },
    )
