"""How near do samplers come to a known minimum in 30 and in 60 evaluations? Beside optuna's own, in the same run.

    python benchmarks/tune_regret.py [--seeds 20] [--only NAME ...] [--out benchmarks/results/tune_regret.json]

Median over seeds of the best value found, less the minimum; and the processor's time for a question, with 1 to 60
answers known. The functions are smooth and without noise, which is kinder to Gaussian processes than training runs are.
All samplers together take two minutes of a processor for 20 seeds, the two with a Gaussian process a quarter of an hour
more. Rows that are not asked for stay as they are in the file; those that are done lie in the work folder.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from steepest.core.records import provenance, read_json, write_json
from steepest.tune import minimize
from steepest.tune.known import ALL, Known
from steepest.tune.samplers.guest import distribution, quiet

OURS = ("random", "sobol", "halton", "evolution", "cmaes", "tpe", "gp")
PEERS: dict[str, Callable[[int], Any]] = {
    "optuna TPE": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "optuna CMA-ES": lambda seed: optuna.samplers.CmaEsSampler(seed=seed),
    "optuna GP": lambda seed: optuna.samplers.GPSampler(seed=seed),
}
AT = (30, 60)


def ours(name: str, known: Known, seed: int) -> list[float]:
    """Regret after each evaluation."""
    found = minimize(known, known.box, budget=AT[-1], sampler=name, seed=seed).best_so_far
    return [value - known.minimum for value in found]


def theirs(name: str, known: Known, seed: int) -> list[float]:
    """The same by ask and tell."""
    best: list[float] = []
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(sampler=PEERS[name](seed))
        for _ in range(AT[-1]):
            trial = study.ask({n: distribution(d) for n, d in known.box.dimensions.items()})
            value = known(trial.params)
            study.tell(trial, value)
            best.append(min(value, best[-1]) if best else value)
    return [value - known.minimum for value in best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=[*OURS, *PEERS], help="samplers")
    parser.add_argument("--work", type=Path, default=Path("runs/tune_regret"), help="folder for the parts")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {}
    if given.out is not None and given.out.exists():
        rows.update(read_json(given.out)["samplers"])
    print(f"{'':14} {'':12} {'@30':>10} {'@60':>10} {'CPU ms':>8}")
    for name in given.only:
        for known in ALL:
            done = [part(given.work, name, known, seed) for seed in range(given.seeds)]
            each = 1000 * sum(one["seconds"] for one in done) / given.seeds / AT[-1]
            at = [statistics.median(one["curve"][n - 1] for one in done) for n in AT]
            row = {"at 30": at[0], "at 60": at[1], "ms": each, "seeds": given.seeds}
            rows.setdefault(name, {})[known.name] = row
            print(f"{name:14} {known.name:12} {at[0]:10.4g} {at[1]:10.4g} {each:8.1f}", flush=True)
        if given.out is not None:
            write_json(given.out, {**provenance(), "samplers": {n: rows[n] for n in (*OURS, *PEERS) if n in rows}})


def part(work: Path, name: str, known: Known, seed: int) -> dict[str, Any]:
    """One search, from the work folder where it was made before."""
    path = work / f"{name}.{known.name}.{seed}.json".replace(" ", "-")
    if not path.exists():
        run, start = (theirs if name in PEERS else ours), time.process_time()
        curve = run(name, known, seed)
        write_json(path, {"curve": curve, "seconds": time.process_time() - start})
    return read_json(path)


if __name__ == "__main__":
    main()
