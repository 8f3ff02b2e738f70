"""The advisor: measure how tasks get on, try what pays, say what to do."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from steepest.advisor.measure import AdviceError, Probe, moments, probes
from steepest.advisor.trial import ALPHA, trial
from steepest.advisor.words import verdict
from steepest.compare.statistics import holm, paired
from steepest.compare.statistics.paired import interval
from steepest.core.records import METRICS, SCHEMA, Metrics, plain, provenance, write_json
from steepest.multitask.cluster import cluster, silhouette
from steepest.multitask.lookahead import alike
from steepest.strategy.text import parse
from steepest.strategy.value import Strategy
from steepest.tasks.registry import load
from steepest.tasks.task import Task

RECORD = "tasks.json"
LEAST = 0.02
"""A task whose gradient is noise for more than all but this share counts as having this share of signal."""


@dataclass(frozen=True)
class Advice:
    """What was measured and what follows; ``str()`` says it in sentences."""

    record: dict[str, Any] = field(repr=False)

    @property
    def strategy(self) -> str:
        """What to train with."""
        return str(self.record["recommended"])

    def __str__(self) -> str:
        return "\n".join(self.record["verdict"])


def advise(
    task: Task | str,
    strategy: Strategy | str = "adamw(lr=1e-3) | cosine",
    *,
    seeds: int = 3,
    looks: int = 8,
    trials: int = 8,
    finals: int = 5,
    steps: int | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    progress: bool = True,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Advice:
    """How several tasks get on in one model, and which way to combine their losses pays.

    First it trains on the task's own loss and looks, now and then, at losses, gradients, their noise, their conflicts
    and what a step for one task does to another. Then ways that weigh losses and ways that compare gradients are tuned
    with the same number of trials, and run on fresh seeds. Surgery is recommended only where it beats the best plain
    way by more than luck.

    Args:
        task: A task with several ``losses``, or its name.
        strategy: What it is trained with, without a multi-task method.
        seeds: Initialisations to measure from.
        looks: How often to look.
        trials: Trials for each way, all for its learning rate; 0: measure only.
        finals: Seeds of the final runs.
        steps: Length of every run; None: the task's own.
        out: Folder for the records; the same call goes on there.
        jobs: Runs at a time; None: one for each core.
        progress: Show how far the runs are.
        on_step: Told how many steps of measuring are done, and of how many.

    >>> found = advise("digits-multitask", seeds=2, looks=2, trials=0, steps=5)
    >>> found.record["names"]
    ['class', 'parity', 'reconstruction']
    """
    made = load(task)
    made = made if steps is None else replace(made, steps=steps)
    base = parse(strategy) if isinstance(strategy, str) else strategy
    _check(made, base, seeds, looks, trials, finals)
    names = list(made.losses)
    at = moments(made.steps, looks)
    total, count = seeds * max(at), 0

    def stepped() -> None:
        nonlocal count
        count += 1
        on_step(count, total)

    found = [probe for seed in range(seeds) for probe in probes(made, base, seed, at, stepped)]
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "tasks",
        "name": f"{made.name}: {len(names)} tasks",
        "task": made.name,
        "spelling": task if isinstance(task, str) else None,
        "strategy": str(base),
        "names": names,
        "steps": made.steps,
        "moments": at,
        "seeds": seeds,
        "trials": trials,
        "finals": finals if trials else 0,
        "parameters": made.parameters(),
        **summary(found, names, seeds),
    }
    folder = None if out is None else Path(out)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / METRICS).unlink(missing_ok=True)
        with Metrics(folder / METRICS) as lines:
            for probe in found:
                lines.write({"kind": "tasks", **asdict(probe)})
    rows = (
        trial(made, base, trials, finals, None if folder is None else folder / "trial", jobs, progress)
        if trials
        else []
    )
    record["trial"], record["alpha"] = rows, ALPHA
    record |= verdict(record, base)
    record |= provenance()
    record = json.loads(json.dumps(plain(record)))
    if folder is not None:
        write_json(folder / RECORD, record)
    return Advice(record)


def _check(task: Task, strategy: Strategy, seeds: int, count: int, trials: int, finals: int) -> None:
    if len(task.losses) < 2:
        raise AdviceError(
            f"{task.name!r} has one loss. The advisor is for several: Task(..., losses={{'class': ..., 'depth': ...}})."
        )
    if strategy.role("multitask"):
        raise AdviceError(f"{strategy} combines the losses already. Leave {strategy.role('multitask')[0]} out.")
    if "lr" not in dict(strategy.rule.arguments) and trials:
        raise AdviceError(f"{strategy.rule.name} has no lr to tune. Take another rule, or trials=0.")
    for what, value, least in (("seeds", seeds, 1), ("looks", count, 1), ("trials", trials, 0), ("finals", finals, 3)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise AdviceError(f"{what} is a whole number of at least {least}; got {value!r}.")


def summary(found: list[Probe], names: list[str], seeds: int) -> dict[str, Any]:
    """What the probes say, with intervals over seeds."""
    of = [[p for p in found if p.seed == seed] for seed in range(seeds)]
    m = len(names)
    off = ~torch.eye(m, dtype=torch.bool)
    norms = torch.tensor([[p.norms for p in run] for run in of], dtype=torch.float64)
    losses = torch.tensor([[p.losses for p in run] for run in of], dtype=torch.float64)
    cosines = torch.tensor([[p.cosines for p in run] for run in of], dtype=torch.float64)
    products = torch.tensor([[p.products for p in run] for run in of], dtype=torch.float64)
    helps = torch.tensor([[p.helps for p in run] for run in of], dtype=torch.float64)
    signal = (products.diagonal(dim1=-2, dim2=-1).sum(1) / norms.square().sum(1)).clamp(0, 1)  # [seed, task]
    share = signal.mean(0).clamp(min=LEAST)
    mean = cosines.mean((0, 1))
    clean = (mean / (share[:, None] * share[None, :]).sqrt()).clamp(-1, 1).fill_diagonal_(1)
    labels = cluster(clean)
    unit = products / (norms[..., :, None] * norms[..., None, :]).clamp(min=1e-300)
    pairs = [(i, j) for i in range(m) for j in range(i + 1, m)]
    each = [paired(unit[:, :, i, j].flatten().tolist(), [0.0] * len(found)) for i, j in pairs]
    luck = holm([1.0 if d.p is None else d.p for d in each])
    lasting = [[names[i], names[j]] for (i, j), d, p in zip(pairs, each, luck, strict=True) if p < ALPHA and d.mean < 0]
    spread = norms.clamp(min=1e-300)
    gradients = (spread.amax(-1) / spread.amin(-1)).log().mean(1)
    first = losses[:, 0].abs().clamp(min=1e-300)
    return {
        "tasks": [
            {
                "name": name,
                "loss_first": float(losses[:, 0, i].mean()),
                "loss_last": float(losses[:, -1, i].mean()),
                "gradient": math.exp(float(spread[..., i].log().mean())),
                "noise": _interval((1 - signal[:, i]).tolist()),
                "cluster": labels[i],
            }
            for i, name in enumerate(names)
        ],
        "loss_ratio": math.exp(float((first.amax(-1) / first.amin(-1)).log().mean())),
        "gradient_ratio": {k: math.exp(v) for k, v in _interval(gradients.tolist()).items() if v is not None},
        "conflicts": _interval((cosines < 0)[..., off].double().mean((1, 2)).tolist()),
        "lasting": lasting,
        "cosines": mean.tolist(),
        "affinity": clean.tolist(),
        "helps": helps.mean((0, 1)).tolist(),
        "alike": alike(helps.mean((0, 1))).tolist(),
        "clusters": list(labels),
        "silhouette": silhouette(clean, labels) if 1 < len(set(labels)) < m else None,
        "probes": [{"seed": p.seed, "step": p.step, "losses": p.losses, "norms": p.norms} for p in found],
    }


def _interval(values: list[float]) -> dict[str, float | None]:
    low, high = interval(values) if len(values) > 1 else (None, None)
    return {"mean": sum(values) / len(values), "low": low, "high": high}
