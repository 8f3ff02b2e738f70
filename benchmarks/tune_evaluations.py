"""How much training does a search need to reach the best of 200 random trials? On the tables of real learning curves.

    python benchmarks/tune_evaluations.py [--seeds 20] [--minutes 5] [--out benchmarks/results/tune_evaluations.json]

A seed of the first eight schemes takes half a minute of a processor, one of those with a Gaussian process and rungs a
few minutes.

The tables (benchmarks/curves.py) hold complete runs of 30, 60, 120 and 240 steps, with the loss at ten places of each,
so that a search of hours is replayed in seconds. The goal of a table is the loss that the best of 200 random trials
comes to, in the median over 1000 such searches, on the seed that all trials have. A scheme has reached it when a run
*of full length* ends there. What it has cost by then is counted in whole runs: short runs, runs that were stopped and
runs that diverged by the steps that they made. A search that has not reached the goal after 100 whole runs'
worth is counted with 100. Medians over seeds, with 95 % intervals by the bootstrap; and the ratio to optuna's TPE with
its median pruner, the mean of the logarithms over all tables.

Stopped by ``--minutes`` or by hand, the same call goes on: what was replayed lies in the work folder.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from steepest.core.records import provenance, write_json
from steepest.tune.box import Box
from steepest.tune.fidelity import Asha, AtRung, Hyperband, Median, Rungs
from steepest.tune.leg import Leg
from steepest.tune.objective import Outcome
from steepest.tune.sampler import Sampler, seed_of
from steepest.tune.samplers import sampler
from steepest.tune.samplers.guest import distribution, outside, quiet
from steepest.tune.scheduler import Scheduler, Whole
from steepest.tune.search import Search
from steepest.tune.store import Memory

HELPER = Path(__file__).parents[1] / "tests" / "tune" / "curves.py"
RANDOM, CAP = 200, 100.0
PEER = "optuna TPE, median pruner"
CURVES: dict[int, list[tuple[int, float]]] = {}
"""Of the search that is being replayed, by leg."""


@dataclass(frozen=True)
class Scheme:
    """A sampler, and how far trials are run."""

    sampler: str
    scheduler: Callable[[int], Scheduler] = lambda full: Whole()
    rungs: bool = False

    def made(self, seed: int) -> Sampler:
        asked = sampler(self.sampler, seed)
        return AtRung(asked) if self.rungs and getattr(asked, "learns", True) else asked


def median(full: int) -> Scheduler:
    return Median(grace=full // 10, enough=5, curve=lambda leg: CURVES.get(leg.number, []))


def asha(full: int) -> Scheduler:
    return Asha(Rungs(full, eta=2, least=full // 8))


def hyperband(full: int) -> Scheduler:
    return Hyperband(Rungs(full, eta=2, least=full // 8))


SCHEMES: dict[str, Scheme] = {
    "random": Scheme("random"),
    "sobol": Scheme("sobol"),
    "evolution": Scheme("evolution"),
    "cmaes": Scheme("cmaes"),
    "tpe": Scheme("tpe"),
    "gp": Scheme("gp"),
    "random, asha": Scheme("random", asha, True),
    "tpe, asha": Scheme("tpe", asha, True),
    "gp, asha": Scheme("gp", asha, True),
    "random, hyperband": Scheme("random", hyperband, True),
    "tpe, hyperband (BOHB)": Scheme("tpe", hyperband, True),
    "gp, hyperband": Scheme("gp", hyperband, True),
    "tpe, median": Scheme("tpe", median),
    "gp, median": Scheme("gp", median),
}


def tables() -> list[Any]:
    """Those of AdamW, by the tests' own reader: four tasks."""
    spec = importlib.util.spec_from_file_location("tune_curves", HELPER)
    assert spec and spec.loader
    module = sys.modules["tune_curves"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [table for table in module.tables() if table.rule == "adamw"]


def goal(table: Any) -> float:
    """What the best of 200 random trials comes to, in the median."""
    draw = np.random.default_rng(0)
    values = np.array([table(point) for point in table.space.sample(4000, seed=1)])
    best = [np.nanmin(values[draw.integers(len(values), size=RANDOM)]) for _ in range(1000)]
    return float(np.median(best))


def ours(scheme: Scheme, table: Any, seed: int, wanted: float) -> float:
    """Whole runs' worth until the goal is reached."""
    CURVES.clear()
    search = Search(
        Memory(), Box.of(table.space), scheme.made(seed), scheme.scheduler(table.full), CAP, seed, full=table.full
    )
    spent = 0.0
    while (leg := search.take()) is not None:
        outcome = replayed(table, leg, search)
        search.tell(leg, outcome)
        spent += outcome.charge
        if outcome.status == "finished" and outcome.values is not None and outcome.values[0] <= wanted:
            return spent
    return CAP


def replayed(table: Any, leg: Leg, search: Search) -> Outcome:
    """A leg: a complete run of its length, ended early by the scheduler or because it diverged."""
    steps = leg.steps or table.full
    share = steps / table.full
    seen: list[tuple[int, float]] = []
    for place, value in places(table, leg.point, steps):
        done = share * place / steps
        if not math.isfinite(value):
            return Outcome("diverged", None, place, done)
        seen.append((place, value))
        if place < steps and isinstance(search.scheduler, Median) and search.stops(leg, seen):
            return Outcome("stopped", (value,), place, done)
    CURVES[leg.number] = seen
    return Outcome("finished" if leg.steps is None else "paused", (seen[-1][1],), steps, share)


def places(table: Any, point: Any, steps: int) -> Iterator[tuple[int, float]]:
    """Where the loss of a run is known."""
    curve = table.curve(point, steps)
    return ((round(steps * (i + 1) / len(curve)), float(value)) for i, value in enumerate(curve))


def theirs(table: Any, seed: int, wanted: float) -> float:
    """The same for optuna as it comes."""
    box = Box.of(table.space)
    spent = 0.0
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed_of(seed, "peer")), pruner=optuna.pruners.MedianPruner()
        )
        while spent < CAP:
            trial = study.ask({name: distribution(of) for name, of in box.dimensions.items()})
            point = {name: outside(box.dimensions[name], value) for name, value in trial.params.items()}
            state, value, place = optuna.trial.TrialState.COMPLETE, math.nan, 0
            for place, value in places(table, point, table.full):
                if not math.isfinite(value):
                    state = optuna.trial.TrialState.FAIL
                    break
                trial.report(value, place)
                if place < table.full and trial.should_prune():
                    state = optuna.trial.TrialState.PRUNED
                    break
            spent += place / table.full
            done = state == optuna.trial.TrialState.COMPLETE
            study.tell(trial, value if done else None, state=state)
            if done and value <= wanted:
                return float(spent)
    return CAP


def interval(costs: list[float]) -> tuple[float, float, float]:
    """The median, and a 95 % interval of it."""
    draw = np.random.default_rng(0)
    medians = np.median(np.array(costs)[draw.integers(len(costs), size=(4000, len(costs)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(np.median(costs)), float(low), float(high)


def ratio(costs: list[list[float]], peer: list[list[float]]) -> tuple[float, float, float]:
    """Ours to theirs: the mean over tables of the logarithm of the ratio of medians, and its interval."""
    draw = np.random.default_rng(0)

    def of(pick: Callable[[int], Any]) -> float:
        logs = [
            math.log(np.median(np.array(a)[pick(len(a))]) / np.median(np.array(b)[pick(len(b))]))
            for a, b in zip(costs, peer, strict=True)
        ]
        return math.exp(float(np.mean(logs)))

    again = [of(lambda n: draw.integers(n, size=n)) for _ in range(2000)]
    low, high = np.quantile(again, [0.025, 0.975])
    return of(np.arange), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many; the same call goes on")
    parser.add_argument("--only", nargs="*", help="schemes")
    parser.add_argument("--work", type=Path, default=Path("runs/tune_evaluations"), help="folder for the parts")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    begun, spent = time.monotonic(), 0.0
    names = [PEER, *(given.only or SCHEMES)]
    every = tables()
    wanted = {t.task: goal(t) for t in every}
    costs: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    late = False
    for seed, name, table in itertools.product(range(given.seeds), names, every):
        where = table.task
        part = given.work / f"{name}.{where}.{seed}.json".replace(" ", "")
        if not part.exists():
            if time.monotonic() - begun > 60 * given.minutes:
                late = True
                continue
            start = time.process_time()
            target = wanted[where]
            cost = theirs(table, seed, target) if name == PEER else ours(SCHEMES[name], table, seed, target)
            write_json(part, {"cost": cost, "seconds": time.process_time() - start})
        said = json.loads(part.read_text())
        costs[name].setdefault(where, []).append(said["cost"])
        spent += said["seconds"]
    if late:
        print("the time is up: the same call goes on.")
    rows: list[dict[str, Any]] = []
    whole = len(wanted) and all(len(c) == len(wanted) for c in costs.values())
    for name in names:
        found = {where: interval(of) for where, of in costs[name].items()}
        row: dict[str, Any] = {"scheme": name, "seeds": min(map(len, costs[name].values()), default=0)}
        row["costs"] = costs[name]
        row["median"] = {where: list(f) for where, f in found.items()}
        row["unreached"] = sum(c >= CAP for of in costs[name].values() for c in of)
        if whole:
            row["ratio"] = ratio([costs[name][w] for w in wanted], [costs[PEER][w] for w in wanted])
        rows.append(row)
        cells = [f"{m:5.1f} [{low:.0f}, {high:.0f}]" for m, low, high in found.values()]
        print(f"{name:27}", *cells, [f"{x:.2f}" for x in row.get("ratio", ())], row["unreached"], flush=True)
    print(wanted, f"{spent:.0f} CPU-s")
    if given.out is not None:
        write_json(given.out, {**provenance(), "cap": CAP, "goal": wanted, "cpu_seconds": round(spent), "rows": rows})


if __name__ == "__main__":
    main()
