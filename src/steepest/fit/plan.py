"""A run before it starts, and the folder that becomes its own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from steepest.core.errors import CheckpointError, RecordError
from steepest.core.records import (
    EXPERIMENT,
    RESULT,
    RUN,
    SCHEMA,
    load_checkpoint,
    provenance,
    read_json,
    take,
)
from steepest.fit.beginning import facts
from steepest.fit.leave import NEVER, Leave
from steepest.fit.protocol import Trains
from steepest.fit.run import Run
from steepest.fit.watching import watching
from steepest.monitor.presets import Preset
from steepest.strategy.value import StrategyError
from steepest.tasks.task import Task

SAME = ("task", "strategy", "seed", "steps", "eval_every", "log_every", "batch_size", "parameters", "device", "start")
"""Settings of ``run.json`` that make two runs the same run."""
LINES = 2000
"""About so many lines of training metrics in a run, unless ``log_every`` says otherwise."""


@dataclass(frozen=True)
class Plan:
    """All that the numbers of a run depend on, and how often they are written.

    Args:
        task: What is learnt, with the length of the run and the clock of its evaluations.
        strategy: How.
        seed: Fixes initialisation, data order and what is drawn while training.
        label: What tables call the strategy; empty: its text.
        device: Where, as torch names it.
        checkpoint_every: Steps between checkpoints; None: by the clock.
        log_every: Steps between lines of training metrics; 0: about :data:`LINES` lines a run.
        spelling: The text that loads the task; None for one that was made in a script.
        threads: How many torch computes with; None: one for a small model (see :mod:`steepest.fit.threads`).
        monitor: What is measured beside the loss: ``"off"`` or a preset of :mod:`steepest.monitor`.
        leave: Where it is left before its end.
    """

    task: Task
    strategy: Trains
    seed: int = 0
    label: str = ""
    device: str = "cpu"
    checkpoint_every: int | None = None
    log_every: int = 0
    spelling: str | None = None
    threads: int | None = None
    monitor: str | Preset = "off"
    leave: Leave = NEVER

    def __post_init__(self) -> None:
        if self.log_every == 0:
            object.__setattr__(self, "log_every", max(1, self.task.steps // LINES))
        watching(self.monitor)
        for piece in getattr(self.strategy, "role", lambda _: ())("multitask"):
            if len(self.task.losses) < 2:
                raise StrategyError(
                    f"{piece} combines the losses of several tasks, and {self.task.name!r} has one loss. "
                    "Leave it away, or give Task(losses={...})."
                )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed must be a whole number >= 0; given {self.seed!r}.")
        for name, of in (("checkpoint_every", " of steps"), ("log_every", " of steps"), ("threads", "")):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be a whole number{of} >= 1; given {value!r}.")

    def record(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        text = str(self.strategy)
        return {
            "schema": SCHEMA,
            "task": self.task.name,
            "spelling": self.spelling,
            "strategy": text,
            "label": self.label or text,
            "seed": self.seed,
            "steps": self.task.steps,
            "eval_every": self.task.eval_interval,
            "log_every": self.log_every,
            "batch_size": self.task.batch_size,
            "parameters": self.task.parameters(),
            "device": self.device,
            "threads": self.threads,
            "monitor": self.monitor if isinstance(self.monitor, str) else self.monitor.name,
            **facts(self.task, self.strategy, self.seed),
        }

    def experiment(self) -> dict[str, Any]:
        """The content of ``experiment.json`` for a run that stands alone."""
        text = str(self.strategy)
        return {
            "schema": SCHEMA,
            "kind": "run",
            "tasks": [self.task.record()],
            "strategies": [{"label": self.label or text, "text": text}],
            "seeds": [self.seed],
            **provenance(),
        }


def refuse_foreign(folder: Path) -> None:
    """A run gets a folder of its own: new, empty, or its own from before."""
    if folder.exists() and not folder.is_dir():
        raise RecordError(f"{folder} is a file. Give a folder.")
    if (folder / EXPERIMENT).exists() and read_json(folder / EXPERIMENT).get("kind") != "run":
        raise RecordError(f"{folder} holds a comparison. Give another output folder.")
    if folder.exists() and not (folder / RUN).exists():
        others = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        if others:
            raise RecordError(f"{folder} holds other files ({', '.join(others[:3])}). Give a new or empty folder.")


def begin(folder: Path, plan: Plan, *, resume: bool) -> Run | None:
    """Write ``run.json``, or check that the one there is the same; the run itself when it has ended already.

    The caller holds the folder's lock.
    """
    result = take(folder, plan.record(), SAME, resume=resume, how="resume=True (--resume)")
    if result is None:
        (folder / RESULT).unlink(missing_ok=True)
        return None
    return Run(result, folder, _trained(folder, plan, result))


def _trained(folder: Path, plan: Plan, result: dict[str, Any]) -> nn.Module | None:
    """The model of a run that has ended; None, with a warning, where its last checkpoint is damaged."""
    try:
        saved, note = load_checkpoint(folder)
    except CheckpointError as error:
        saved, note = None, str(error).partition(". No sound checkpoint")[0]
    if note:
        warnings.warn(f"{note.rstrip('.')}. The result stands; the model of its last step is lost.", stacklevel=5)
        return None
    model = plan.task.build(plan.seed)
    if saved is not None and "kept" in saved and result["status"] == "finished":
        model.load_state_dict(saved["kept"]["weights"])
    elif saved is not None:
        model.load_state_dict(saved.get("evaluated", saved["model"]))
    return model
