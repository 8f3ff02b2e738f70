"""What the figures mean, in sentences, and what to train with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from steepest.advisor.trial import SCALAR, SURGERY
from steepest.strategy.text import parse
from steepest.strategy.value import Strategy

APART = 10.0
"""Gradients whose lengths differ by this factor are called badly scaled."""
NOISY = 0.8
PIECES = {**SCALAR, **SURGERY, "clusters": "clustered"}


def verdict(record: Mapping[str, Any], strategy: Strategy) -> dict[str, Any]:
    """``verdict``: the sentences; ``recommended``: a strategy."""
    said = [_scale(record), _conflicts(record), _noise(record), _groups(record)]
    trial = record["trial"]
    if not trial:
        way = "log sum" if record["gradient_ratio"]["mean"] >= APART else "sum"
        said.append(
            f"Nothing was tried. Begin with {PIECES[way]} and tune the learning rate; whether surgery pays is only "
            "known once it was tried (--trials)."
        )
    else:
        way, sentences = _paid(trial)
        said += sentences
    found = next((r.get("chosen") for r in trial if r["name"] == way), None)
    recommended = found or str(parse(f"{strategy} | {PIECES[way]}"))
    return {"verdict": [s for s in said if s], "way": way, "recommended": recommended}


def _scale(record: Mapping[str, Any]) -> str:
    ratio = record["gradient_ratio"]["mean"]
    largest = max(record["tasks"], key=lambda t: t["gradient"])
    smallest = min(record["tasks"], key=lambda t: t["gradient"])
    ends = f"{largest['name']} against {smallest['name']}"
    words = f"the longest gradient is {ratio:.3g} times as long as the shortest ({ends})"
    if ratio >= APART:
        return (
            f"Badly scaled: {words}, so the sum trains {largest['name']}. Weigh the losses, or take their logarithms."
        )
    return f"Of similar scale: {words}."


def _conflicts(record: Mapping[str, Any]) -> str:
    rate, lasting = record["conflicts"]["mean"], record["lasting"]
    m = len(record["names"])
    pairs = m * (m - 1) // 2
    words = f"In {rate:.0%} of looks two gradients of the same batch point against each other; "
    if not lasting:
        return words + "no pair does so beyond noise."
    named = ", ".join(f"{a} and {b}" for a, b in lasting[:3]) + (" and others" if len(lasting) > 3 else "")
    return words + f"{len(lasting)} of {pairs} pairs do so beyond noise ({named})."


def _noise(record: Mapping[str, Any]) -> str:
    noisy = [t["name"] for t in record["tasks"] if t["noise"]["mean"] > NOISY]
    shares = [t["noise"]["mean"] for t in record["tasks"]]
    words = f"From {min(shares):.0%} to {max(shares):.0%} of a gradient's square is noise of the batch"
    if noisy:
        named = ", ".join(noisy[:3]) + (" and others" if len(noisy) > 3 else "")
        return f"{words}, most of it for {named}: what is called a conflict in one batch is mostly chance."
    return f"{words}."


def _groups(record: Mapping[str, Any]) -> str:
    labels, names = record["clusters"], record["names"]
    count = len(set(labels))
    if count == 1:
        return "All tasks pull the same way: one cluster." if len(names) > 2 else ""
    if count == len(names):
        return "No clusters stand out." if len(names) > 2 else ""
    groups = [[n for n, k in zip(names, labels, strict=True) if k == j] for j in range(count)]
    return f"{count} clusters: " + "; ".join(" ".join(group) for group in groups) + "."


def _paid(trial: list[dict[str, Any]]) -> tuple[str, list[str]]:
    plain = next((r for r in trial if r["best plain"]), None)
    winners = sorted((r for r in trial if r.get("pays")), key=lambda r: r["mean"])
    if plain is None:
        return "sum", ["No plain way was finished without loss; lower the learning rate."]
    if winners:
        best = winners[0]
        gain = -math.expm1(best["against best plain"]["mean"])
        cost = best["cpu_seconds"] / plain["cpu_seconds"]
        return best["name"], [
            f"Surgery pays: {PIECES[best['name']]}, tuned alike, has losses {gain:.1%} lower than the best plain way "
            f"({PIECES[plain['name']]}), p = {best['p']:.2g} after correction, for {cost:.1f} times the time."
        ]
    chosen, why = plain, ""
    total = next((r for r in trial if r["name"] == "sum" and r["values"]), None)
    if total is not None and plain is not total and not total["against best plain"]["separable"]:
        chosen, why = total, f", which {PIECES[plain['name']]} does not beat by more than luck"
    return chosen["name"], [
        f"Surgery does not pay: no way that compares gradients beats the best plain one by more than luck. Take "
        f"{PIECES[chosen['name']]}{why}, with a tuned learning rate."
    ]
