"""Federated methods against each other: the same clients, samples and batches for each, seed by seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from steepest.compare.board import Board, Render
from steepest.compare.plan import ComparisonError, no_twins, refuse_other_comparison, run_folder
from steepest.core.errors import RecordError
from steepest.core.records import EXPERIMENT, RUN, SCHEMA, lock, provenance, read_json, refuse_other, sweep, write_json
from steepest.federated import Dealer, Federation, Method, Partition, as_method
from steepest.strategy.text import parse
from steepest.strategy.value import Strategy
from steepest.tasks.registry import load
from steepest.tasks.task import Task

DEFAULT = parse("sgd(lr=0.1)")


def federations(
    task: Task | str,
    clients: Partition | Dealer | str,
    methods: Sequence[Method | str],
    seeds: int | Sequence[int] = 3,
    *,
    rounds: int = 50,
    client: Strategy | str | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    render: Render | None = None,
    told: Callable[[str, int, Any], None] = lambda *_: None,
    **settings: Any,
) -> Board:
    """Run a federation by every method with every seed, and say which is best and whether that is more than luck.

    A second call with the same arguments and folder runs only what is missing; seeds may be added.

    Args:
        task: What is learnt.
        clients: A way to deal its rows, drawn anew for every seed, or a partition.
        methods: Methods or their texts, which are their names in tables.
        seeds: How many, or which.
        rounds: Length of every run.
        client: How clients of methods train that do not say it themselves.
        out: Folder for the records; None: one that lasts as long as the board.
        progress: Draw a bar for each run on a terminal.
        render: What :meth:`Board.report` calls.
        told: Called with label, seed and run after each run.
        settings: The other arguments of :class:`~steepest.federated.federation.Federation`.
    """
    loaded, spelling = load(task), task if isinstance(task, str) else None
    which = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not methods or not which:
        raise ComparisonError("federations are compared by at least one method and one seed.")
    texts = [m if isinstance(m, str) else str(m) for m in methods]
    no_twins("method", texts, "Every method counts once.")
    made = {text: with_client(as_method(m), client) for text, m in zip(texts, methods, strict=True)}
    first = [Federation(spelling or loaded, clients, m, seed=which[0], **settings) for m in made.values()]
    folder, keep = Board.place(out)
    every = max(1, rounds // 20)
    with lock(folder):
        sweep(folder)
        _claim(folder, _record(first[0], loaded, made, which, rounds, every))
        for seed in which:
            for text, method in made.items():
                place = run_folder(folder, loaded.name, text, seed)
                fed = Federation(spelling or loaded, clients, method, seed=seed, **settings)
                run = fed.run(
                    rounds, out=place, resume=(place / RUN).exists(), eval_every=every, label=text, progress=progress
                )
                told(text, seed, run)
                if run.status == "stopped":
                    raise KeyboardInterrupt(f"{text!r}, seed {seed}: {run.message}")
        board = Board(folder, render=render, keep=keep)
        board.save()
    return board


def with_client(method: Method, client: Strategy | str | None) -> Method:
    """A method whose clients train so, unless it says how itself."""
    if client is None or method.client != DEFAULT:
        return method
    return dataclasses.replace(method, client=client)


def _record(
    fed: Federation, task: Task, made: dict[str, Method], seeds: Sequence[int], rounds: int, every: int
) -> dict[str, Any]:
    facts = {**task.record(), "steps": rounds, "batch_size": fed.batch, "eval_every": every}
    return {
        "schema": SCHEMA,
        "kind": "comparison",
        "tasks": [facts],
        "strategies": [{"label": label, "text": str(m)} for label, m in made.items()],
        "seeds": list(seeds),
        "device": "cpu",
        "federation": {
            **fed.settings.record(),
            "partition": fed.partition.text,
            "clients": len(fed.clients),
            "sampled": fed.sampled,
        },
        **provenance(),
    }


def _claim(folder: Path, here: dict[str, Any]) -> None:
    path = folder / EXPERIMENT
    if not path.exists():
        others = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        if others:
            raise RecordError(f"{folder} holds other files ({', '.join(others[:3])}). Give a new or empty folder.")
        write_json(path, here)
        return
    there = read_json(path)
    refuse_other_comparison(folder, there, here)
    refuse_other(folder, there, here, ("federation",))
    if there["seeds"] != here["seeds"]:
        write_json(path, {**there, "seeds": sorted({*there["seeds"], *here["seeds"]})})
