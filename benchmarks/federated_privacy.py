"""What privacy costs in accuracy: digits at many clients, by mechanism and epsilon.

    python benchmarks/federated_privacy.py [--seeds 3] [--minutes 4] [--out FILE]

360 clients have three rows of digits each, 72 of them take part in each of 30 rounds, three steps of SGD 0.5 each; the
server's momentum is 0.9. Every epsilon is at delta 1e-5, for all rounds together, calibrated; the length at which
updates are cut is the best of three on a seed of its own (that search is not counted, as papers do not either). With
--out what has been run is kept and a second call goes on; --minutes stops in between. The noise follows from the seed,
so the figures come out again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import steepest as st
from steepest.core.records import machine, versions

CLIENTS, SAMPLE, ROUNDS, STEPS = 360, 72, 30, 3
CLIPS = (0.1, 0.3, 1.0)
METHOD = "fedavg(weighting='equal', client=sgd(lr=0.5), server=sgd(lr=1.0, momentum=0.9))"
EPSILONS = {
    "central": (2, 4, 8, 16, 32),
    "central, fixed": (8, 16, 32),
    "ftrl": (8, 16, 32),
    "banded": (2, 4, 8, 16, 32),
    "local": (256, 1024),
}
TUNED = 100
"""Seeds on which the length is chosen: from here on."""


def text(way: str, eps: float, clip: float) -> str | None:
    """The promise; None where there is none."""
    if way == "none":
        return None
    more = ", sampling='fixed'" if way == "central, fixed" else ""
    return f"{way.split(',')[0]}(eps={eps}, delta=1e-5, clip={clip}, random='seed'{more})"


def run(way: str, eps: float, clip: float, seed: int) -> dict[str, float]:
    """One federation: its test accuracy, the noise it took, and what it spent."""
    begin = time.process_time()
    fed = st.Federation(
        "digits-mlp", st.federated.iid(CLIENTS), METHOD, sample=SAMPLE, steps=STEPS, batch_size=3, seed=seed,
        privacy=text(way, eps, clip),
    )  # fmt: skip
    done = fed.run(ROUNDS, eval_every=ROUNDS)
    if done.status == "stopped":
        raise SystemExit("stopped in between; call it again with the same --out")
    spent = done.result.get("privacy") or {}
    error = done.result["test"]["error"] if done.status == "finished" else 1.0
    return {
        "accuracy": 1 - error, "noise": spent.get("noise", 0.0), "epsilon": spent.get("epsilon", 0.0),
        "epsilon_rdp": spent.get("epsilon_rdp", 0.0), "cpu_seconds": time.process_time() - begin,
    }  # fmt: skip


def cases() -> list[tuple[str, float]]:
    return [("none", 0.0), *((way, eps) for way, many in EPSILONS.items() for eps in many)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * given.minutes
    known: dict[str, Any] = {"machine": machine(), "versions": versions(), "runs": {}}
    if given.out is not None and given.out.exists():
        known = json.loads(given.out.read_text())

    def one(way: str, eps: float, clip: float, seed: int) -> dict[str, float] | None:
        key = f"{way} | {eps} | {clip} | {seed}"
        if key not in known["runs"]:
            if time.monotonic() > end:
                return None
            known["runs"][key] = run(way, eps, clip, seed)
            if given.out is not None:
                given.out.write_text(json.dumps(known, indent=1) + "\n")
        found: dict[str, float] = known["runs"][key]
        return found

    print(f"{'way':<16}{'eps':>6}{'clip':>7}{'noise':>8}{'spent':>8}{'RDP':>8}{'accuracy':>10}{'sd':>7}{'CPU s':>7}")
    for way, eps in cases():
        clip = 0.0
        if way != "none":
            tried = {c: one(way, eps, c, TUNED) for c in CLIPS}
            if any(found is None for found in tried.values()):
                break
            clip = max(CLIPS, key=lambda c: tried[c]["accuracy"])  # type: ignore[index]
        rows = [one(way, eps, clip, seed) for seed in range(given.seeds)]
        if any(row is None for row in rows):
            break
        made = [row for row in rows if row is not None]
        accuracy = [row["accuracy"] for row in made]
        first = made[0]
        sd = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
        print(
            f"{way:<16}{eps or '-':>6}{clip or '-':>7}{first['noise']:>8.3f}{first['epsilon']:>8.2f}"
            f"{first['epsilon_rdp']:>8.2f}{statistics.mean(accuracy):>10.1%}{sd:>7.1%}"
            f"{statistics.mean(row['cpu_seconds'] for row in made):>7.1f}",
            flush=True,
        )
    else:
        return
    print("stopped in between; call it again with the same --out")


if __name__ == "__main__":
    main()
