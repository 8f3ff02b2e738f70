"""Trials a minute: plain Optuna around a plain PyTorch loop, beside this package's search with fleets.

    python benchmarks/trials_per_minute.py [--trials 48] [--steps 600] [--batch 64] [--only tpe] [--out FILE]

Both tune the learning rate, the first beta and the decay of AdamW under a cosine schedule on digits-mlp: as many
trainings, as many steps in each, the same batch size and data. A file keeps one measurement of each batch size. Plain
Optuna is what its own examples show: ``study.optimize`` with the sampler's defaults, in memory, torch's fused AdamW,
one process, one evaluation at the end. ``2 processes`` are two of these at once, each with half of the trials. The
search evaluates on the way, writes records of every trial and keeps a journal; a third of its trainings are the race,
the best ones again on other seeds. Wall time is that of a shared machine where it is not said to be quiet: processor
seconds, children included, are the fairer figure. Starting Python and importing torch is not counted for plain Optuna,
and is for the search's workers.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch

import steepest as st
from steepest.core.records import cores, provenance, read_json, write_json
from steepest.tasks.registry import load
from steepest.tasks.task import Task

TASK = "digits-mlp"
SPACE = "adamw(lr=log(1e-4, 1e-1), betas=(near_one(0.5, 0.99), 0.999), weight_decay=log(1e-4, 1)) | cosine"


def batched(size: int) -> Task:
    """The task, with batches of another size."""
    return replace(load(TASK), batch_size=size)


def objective(trial: optuna.Trial, steps: int, batch: int) -> float:
    """A training as one writes it."""
    task = batched(batch)
    lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    beta = 1 - trial.suggest_float("one_minus_beta1", 0.01, 0.5, log=True)
    decay = trial.suggest_float("weight_decay", 1e-4, 1.0, log=True)
    model, batches = task.build(1_000_000), task.batches(1_000_000)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(beta, 0.999), weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        task.training_loss(model, batches.batch(step)).backward()
        optimizer.step()
        schedule.step()
    value = task.evaluate(model)["loss"]
    return value if math.isfinite(value) else 1e6


def plain(name: str, trials: int, steps: int, batch: int, seed: int) -> float:
    """Plain Optuna; the best value."""
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(sampler=samplers[name](seed=seed))
    study.optimize(lambda trial: objective(trial, steps, batch), n_trials=trials)
    return study.best_value


def _half(name: str, trials: int, steps: int, batch: int, seed: int) -> None:
    torch.set_num_threads(1)
    plain(name, trials, steps, batch, seed)


def halves(name: str, trials: int, steps: int, batch: int) -> None:
    """Plain Optuna once for each core, the trials dealt out."""
    context = multiprocessing.get_context("fork")
    made = [context.Process(target=_half, args=(name, trials // cores(), steps, batch, k)) for k in range(cores())]
    for process in made:
        process.start()
    for process in made:
        process.join()


def searched(name: str, trials: int, steps: int, batch: int, **options: Any) -> dict[str, Any]:
    """The search, with as many trials; how many were stacked, and the best value."""
    with tempfile.TemporaryDirectory() as folder:
        found = st.tune(
            batched(batch), SPACE, budget=trials, sampler=name, steps=steps, final=False, out=Path(folder) / "s",
            progress=False, extend=False, **options,
        )  # fmt: skip
        results = [json.loads(p.read_text()) for p in Path(folder).glob("s/trials/*/*/*/result.json")]
        tried = len(found.trials)
    values = [r["validation"]["loss"] for r in results if r["status"] == "finished"]
    return {
        "runs": len(results),
        "stacked": sum(r["executor"] == "stacked" for r in results),
        "best": min(values),
        "tried": tried,
    }


def cpu() -> float:
    """Processor seconds of this process and of those that it has waited for."""
    here, there = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return here.ru_utime + here.ru_stime + there.ru_utime + there.ru_stime


def timed(work: Any) -> tuple[dict[str, float], Any]:
    """Wall and processor seconds of a call, and what it returned."""
    wall, used = time.perf_counter(), cpu()
    value = work()
    return {"wall": time.perf_counter() - wall, "cpu": cpu() - used}, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--only", choices=["tpe", "random"])
    parser.add_argument("--way", action="append", help="some ways only, by parts of their names")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    plain("random", 2, 50, given.batch, 0)  # imports and kernels
    size = (given.trials, given.steps, given.batch)
    rows: list[dict[str, Any]] = []
    for name in [given.only] if given.only else ["random", "tpe"]:
        ways: dict[str, Any] = {
            "optuna and a loop": lambda name=name: {"best": plain(name, *size, 0)},
            f"the same, {cores()} processes": lambda name=name: halves(name, *size),
            "search, one by one": lambda name=name: searched(name, *size, together="processes"),
            "search with fleets": lambda name=name: searched(name, *size),
        }
        for way, work in ways.items():
            if given.way and not any(part in way for part in given.way):
                continue
            spent, found = timed(work)
            row = {"sampler": name, "way": way, "trials": given.trials, "steps": given.steps, **spent, **(found or {})}
            rows.append(row)
            made = row["runs"] = row.get("runs", given.trials)  # a race may end before its budget
            first = next(r for r in rows if r["sampler"] == name)
            faster = (first["wall"] / first["runs"]) / (spent["wall"] / made)
            less = (first["cpu"] / first["runs"]) / (spent["cpu"] / made)
            print(
                f"{name:<7} {way:<24} {60 * made / spent['wall']:6.0f} a minute ({faster:.1f}x)"
                f"  {spent['cpu'] / made:.3f} processor s a training ({less:.1f}x less)"
                f"  {'' if found is None else found}",
                flush=True,
            )
    if given.out is not None:
        kept = read_json(given.out) if given.out.exists() else {}
        write_json(given.out, {**kept, str(given.batch): {"rows": rows, "task": TASK, "space": SPACE, **provenance()}})


if __name__ == "__main__":
    main()
