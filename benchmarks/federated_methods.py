"""What federated methods, codecs, defences and servers that do not wait are worth, on small problems.

    echo 19 > /proc/self/autogroup
    python benchmarks/federated_methods.py --work FILE.jsonl [--table NAME ...] [--minutes N] [--out FILE]

Tables, every row over seeds that all rows share (same clients, samples and batches):

- ``methods``: a global model on digits dealt by Dirichlet(alpha) to 100 clients, and on synthetic(alpha, beta); the
  clients' learning rate of each method is chosen among three on another seed, in the middle of the range.
- ``own``: clients' own models, on rows that each holds out.
- ``bytes``: what is sent, and what is lost by it.
- ``attacks``: every attack against every rule, a fifth of the clients lying.
- ``waiting``: the same number of updates in rounds, in rounds with a deadline, and without rounds, by a counted clock.

Runs that FILE.jsonl holds are not run again; --minutes stops in time. One process, one thread; CPU seconds of all runs
are in the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import steepest as st
from steepest.core.records import machine, versions, write_json
from steepest.federated.synthetic import problem

SEEDS, SPARE = range(5), 100
RATES = (0.1, 0.3)
METHODS = {
    "FedAvg": "fedavg(client={c})",
    "FedAvg, equal weights": "fedavg(client={c}, weighting='equal')",
    "FedAvgM": "fedavg(client={c}, server=sgd(lr=1.0, momentum=0.5))",
    "FedAdam": "fedavg(client={c}, server=adam(lr=0.01, eps=1e-3))",
    "FedLion": "fedavg(client={c}, server=lion(lr=0.003))",
    "FedProx": "fedprox(client={c}, mu=0.1)",
    "SCAFFOLD": "scaffold(client={c})",
    "FedNova": "fednova(client={c})",
    "FedDyn": "feddyn(client={c}, alpha=0.1)",
    "FedExP": "fedexp(client={c})",
    "MIFA": "mifa(client={c})",
    "q-FFL": "qffl(client={c}, q=1.0)",
    "Mime": "mime(client={c})",
    "MimeLite": "mimelite(client={c})",
    "aligned": "aligned(client={c})",
    "MOON": "moon(client={c})",
    "FedDecorr": "feddecorr(client={c})",
}
FEATURES = ("MOON", "FedDecorr")
"""Methods that look at what comes before the last layer."""
OWN = {
    "FedAvg, the global model": "fedavg(client={c})",
    "fine-tuned": "finetune(client={c}, passes=5)",
    "Ditto": "ditto(client={c}, lam=0.1)",
    "FedPer": "fedper(client={c})",
    "FedRep": "fedrep(client={c}, head_epochs=5)",
    "pFedMe": "pfedme(client={c}, lam=2.0, eta=0.2)",
    "APFL": "apfl(client={c})",
}
DEALS = {"0.1": "dirichlet:0.1", "0.3": "dirichlet:0.3", "1": "dirichlet:1", "IID": "iid"}
SYNTHETIC = {"(1, 1)": "synthetic(1, 1)", "(0.5, 0.5)": "synthetic(0.5, 0.5)", "(0, 0)": "synthetic(0, 0)",
             "IID": "synthetic(iid)"}  # fmt: skip
CODECS = (None, "int8", "qsgd", "qsgd(levels=1)", "sign", "power_sgd:2", "topk:0.05", "topk:0.02", "topk:0.01")
ATTACKS = ("sign_flip(scale=5)", "gaussian(scale=100)", "ipm(scale=5)", "alie", "label_flip", "backdoor(scale=5)")
RULES = (None, "median", "multi_krum(faulty=0.25)", "rfa", "centered_clip", "norm_bound")
WAITING = {
    "rounds": ("fedavg(client={c})", 60, {}),
    "rounds until 60, late ones dropped": ("fedavg(client={c})", 60, {"deadline": 60.0}),
    "rounds until 60, late ones take fewer steps": ("fedavg(client={c})", 60, {"deadline": 60.0, "late": "fewer"}),
    "FedBuff, 5 updates": ("fedbuff(client={c}, buffer=5)", 120, {}),
    "FedBuff, 2 updates": ("fedbuff(client={c}, buffer=2, server=sgd(lr=0.5))", 300, {}),
    "FedAsync": ("fedasync(client={c}, alpha=0.3)", 600, {}),
}
Job = dict[str, Any]


def job(
    table: str, row: str, column: str, seed: int, task: str, deal: str, method: str, rounds: int, **more: Any
) -> Job:
    return {"table": table, "row": row, "column": column, "seed": seed, "task": task, "deal": deal, "method": method,
            "rounds": rounds, **more}  # fmt: skip


def client(rate: float) -> str:
    return f"sgd(lr={rate})"


def methods_jobs(done: dict[str, Any]) -> Iterator[Job]:
    """Rates first, on the spare seed; then the runs that count."""
    digits = {"clients": 100, "sample": 10, "batch_size": 10, "epochs": 3}
    made = {"clients": 30, "sample": 10, "batch_size": 10, "steps": 10}
    grounds = (("digits", DEALS, "0.3", digits, SEEDS), ("synthetic", SYNTHETIC, "(0.5, 0.5)", made, SEEDS))
    rounds = 40
    for ground, deals, middle, more, seeds in grounds:
        for row, text in METHODS.items():
            if ground == "synthetic" and row in FEATURES:
                continue  # its model is one layer, before which there is nothing to look at
            tries = [
                job("rates", f"{ground}: {row}", str(rate), SPARE, *where(ground, deals[middle]),
                    text.format(c=client(rate)), rounds, **more) for rate in RATES
            ]  # fmt: skip
            yield from tries
            ends = [done[key(j)] for j in tries if key(j) in done]
            if len(ends) < len(tries):
                continue
            best = min(range(len(RATES)), key=lambda i: ends[i]["loss"] if ends[i]["loss"] is not None else 1e9)
            for column, deal in deals.items():
                for seed in seeds:
                    yield job("methods", f"{ground}: {row}", column, seed, *where(ground, deal),
                              text.format(c=client(RATES[best])), rounds, **more)  # fmt: skip


def where(ground: str, deal: str) -> tuple[str, str]:
    return ("digits-mlp", deal) if ground == "digits" else (deal, "natural")


def own_jobs(_: dict[str, Any]) -> Iterator[Job]:
    for row, text in OWN.items():
        for column, deal in (("0.1", "dirichlet:0.1"), ("1", "dirichlet:1")):
            for seed in SEEDS[:3]:
                yield job("own", row, column, seed, "digits-mlp", deal, text.format(c=client(0.1)), 50,
                          clients=20, sample=10, batch_size=10, epochs=1, holdout=0.25)  # fmt: skip


def bytes_jobs(_: dict[str, Any]) -> Iterator[Job]:
    for codec in CODECS:
        for seed in SEEDS[:3]:
            yield job("bytes", str(codec), "", seed, "digits-mlp", "dirichlet:0.3", "fedavg(client=sgd(lr=0.1))", 80,
                      clients=20, sample=10, batch_size=10, epochs=1, compress=codec)  # fmt: skip


def attacks_jobs(_: dict[str, Any]) -> Iterator[Job]:
    method = "fedavg(client=sgd(lr=0.3))"
    for attack in (None, *ATTACKS):
        for rule in RULES:
            for seed in SEEDS[:2]:
                yield job("attacks", str(rule), str(attack), seed, "digits-mlp", "iid", method, 30,
                          clients=20, batch_size=8, attack=attack, aggregate=rule)  # fmt: skip


def waiting_jobs(_: dict[str, Any]) -> Iterator[Job]:
    for row, (text, rounds, more) in WAITING.items():
        for seed in SEEDS[:3]:
            yield job("waiting", row, "", seed, "digits-mlp", "dirichlet:0.3", text.format(c=client(0.1)), rounds,
                      clients=50, sample=10, batch_size=10, epochs=5, clock="lognormal:1", **more)  # fmt: skip


TABLES = {"methods": methods_jobs, "own": own_jobs, "bytes": bytes_jobs, "attacks": attacks_jobs,
          "waiting": waiting_jobs}  # fmt: skip


def key(j: Job) -> str:
    return json.dumps(j, sort_keys=True)


def run(j: Job) -> dict[str, Any]:
    """One federation, and what the tables need of it."""
    known = ("table", "row", "column", "seed", "task", "deal", "method", "rounds", "clients")
    more = {name: value for name, value in j.items() if name not in known}
    made = problem(j["task"], j["clients"])
    task: Any = j["task"] if made is None else made[0]
    deal: Any = made[1] if made is not None else st.federated.partitioners.parse(j["deal"], j["clients"])
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model that liars have ruined refuses steps
        done = st.Federation(task, deal, j["method"], seed=j["seed"], **more).run(
            j["rounds"], eval_every=max(1, j["rounds"] // 40) if "clock" in j else j["rounds"]
        )
    if done.status == "stopped":
        raise SystemExit("stopped; the next call goes on")
    test = done.result["test"] or {}
    last = done.metrics("clients")[-1]
    line = {
        "status": done.status,
        "loss": done.result["validation"]["loss"],
        "error": test.get("error", 1.0),
        "worst": last.get("global_worst_tenth"),
        "bytes_up": done.result["bytes_up"],
        "cpu_seconds": time.process_time() - begun,
    }
    if "own_error" in done.clients:
        line["own"] = statistics.mean(done.clients["own_error"])
        line["global"] = statistics.mean(done.clients["error"])
    elif j["table"] == "own":
        line["own"] = line["global"] = statistics.mean(done.clients["error"])
    if "attack_success" in done.result:
        line["attack_success"] = done.result["attack_success"]
    if "clock" in j:
        times = {r["step"]: r["time"] for r in done.metrics("round")}
        line["curve"] = [[times.get(e["step"], 0.0), e["error"]] for e in done.metrics("eval")]
    return line


def spread(values: list[float]) -> dict[str, float]:
    return {
        "mean": round(statistics.mean(values), 5),
        "sd": round(statistics.stdev(values), 5) if len(values) > 1 else 0.0,
        "n": len(values),
    }


def summary(done: list[tuple[Job, dict[str, Any]]]) -> dict[str, Any]:
    """Rows and columns, means and standard deviations over the seeds."""
    found: dict[str, Any] = {}
    for j, line in done:
        cell = found.setdefault(j["table"], {}).setdefault(j["row"], {}).setdefault(j["column"], {})
        cell.setdefault("method", j["method"])
        for name in ("error", "loss", "bytes_up", "own", "global", "attack_success"):
            if line.get(name) is not None:
                cell.setdefault(name, []).append(line[name])
        cell["lost"] = cell.get("lost", 0) + (line["status"] != "finished")
        if "curve" in line:
            reached = next((t for t, e in line["curve"] if e is not None and e <= 0.15), None)
            cell.setdefault("time_to_15", []).append(reached)
            cell.setdefault("time", []).append(line["curve"][-1][0])
    for table in found.values():
        for row in table.values():
            for cell in row.values():
                for name, values in list(cell.items()):
                    if isinstance(values, list):
                        some = [v for v in values if v is not None]
                        cell[name] = {**spread(some), "of": len(values)} if some else {"of": len(values), "n": 0}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--table", choices=TABLES, action="append")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    until = time.monotonic() + 60 * given.minutes
    lines = given.work.read_text().splitlines() if given.work.exists() else []
    past = [json.loads(line) for line in lines if line.endswith("}")]
    done = {key(p["job"]): p["line"] for p in past}
    with given.work.open("a") as file:
        for name in given.table or TABLES:
            for j in TABLES[name](done):
                if key(j) in done:
                    continue
                if time.monotonic() > until:
                    break
                line = done[key(j)] = run(j)
                file.write(json.dumps({"job": j, "line": line}) + "\n")
                file.flush()
                print(f"{j['table']}, {j['row']}, {j['column']}, seed {j['seed']}: error {line['error']:.3f}, "
                      f"{line['cpu_seconds']:.1f} CPU-s", flush=True)  # fmt: skip
    every = [(json.loads(k), line) for k, line in done.items()]
    print(f"{len(every)} runs, {sum(line['cpu_seconds'] for _, line in every) / 60:.1f} CPU minutes")
    if given.out is not None:
        minutes = round(sum(line["cpu_seconds"] for _, line in every) / 60, 1)
        write_json(given.out, {"machine": machine(), "versions": versions(), "cpu_minutes": minutes, **summary(every)})


if __name__ == "__main__":
    main()
