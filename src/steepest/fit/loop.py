"""The training loop: one task, one strategy, one seed."""

from __future__ import annotations

import dataclasses
import math
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steepest.core.errors import NonFiniteError, RecordError
from steepest.core.piece import Piece
from steepest.core.records import (
    CHECKPOINT,
    EXPERIMENT,
    METRICS,
    RESULT,
    RUN,
    SCHEMA,
    Metrics,
    load_checkpoint,
    lock,
    provenance,
    read_json,
    read_metrics,
    read_result,
    read_run,
    refuse_other,
    save_checkpoint,
    sweep,
    write_json,
)
from steepest.fit.interrupt import Stop
from steepest.fit.progress import Bar
from steepest.fit.protocol import Steps, Trains
from steepest.fit.run import Run
from steepest.fit.state import State, own_random_states, pack, unpack
from steepest.strategy.text import parse
from steepest.strategy.value import Strategy
from steepest.tasks.data import to_device
from steepest.tasks.randomness import mix, seed_all
from steepest.tasks.registry import load
from steepest.tasks.task import Task, TaskError

SAME = ("task", "strategy", "seed", "steps", "eval_every", "log_every", "batch_size", "parameters", "device")
"""Settings of ``run.json`` that make two runs the same run."""
SECONDS = 20.0
"""Training seconds between checkpoints, unless ``checkpoint_every`` gives steps."""


class WentBack(UserWarning):
    """A damaged checkpoint was put aside and the one before it used."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run before it starts: all that its numbers depend on."""

    task: Task
    strategy: Trains
    seed: int = 0
    label: str = ""
    device: str = "cpu"
    checkpoint_every: int | None = None
    log_every: int = 1

    def record(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        return {
            "schema": SCHEMA,
            "task": self.task.name,
            "strategy": str(self.strategy),
            "label": self.label or str(self.strategy),
            "seed": self.seed,
            "steps": self.task.steps,
            "eval_every": self.task.eval_interval,
            "log_every": self.log_every,
            "batch_size": self.task.batch_size,
            "parameters": self.task.parameters(),
            "device": self.device,
        }


def fit(
    task: Task | str,
    strategy: Strategy | Piece | Trains | str,
    *,
    seed: int = 0,
    steps: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    eval_every: int | None = None,
    checkpoint_every: int | None = None,
    log_every: int | None = None,
    progress: bool = True,
    label: str = "",
    on_step: Callable[[int, float], None] | None = None,
) -> Run:
    """Train a task with a strategy; the numbers depend on the arguments alone.

    Args:
        task: A task, or the name of one.
        strategy: A strategy, or its text.
        seed: Fixes initialisation, data order and what is drawn while training (dropout).
        steps: Length of the run; None: the task's own.
        out: Folder for the record (see ``docs/records.md``); None: nothing is written.
        resume: Go on in a folder that holds this very run; a finished one is read and not repeated.
        device: Where to train, as torch names it.
        eval_every: Steps between evaluations on the validation split; None: the task's own.
        checkpoint_every: Steps between checkpoints; None: every 20 seconds of training, and at the end.
        log_every: Steps between lines of training metrics; None: at most about 2000 lines a run.
        progress: Draw a bar on a terminal.
        label: What tables call the strategy; empty: its text.
        on_step: Called with (step, loss) after each step.

    Returns:
        How it ended. A loss that becomes NaN or grows without bound is a result (``run.status == "diverged"``, and
        ``run.message`` names the step); Ctrl-C is one too (``"stopped"``, after a checkpoint). Errors of the model, the
        data or the strategy itself are raised.
    """
    task = _set(load(task) if isinstance(task, str) else task, steps, eval_every)
    if isinstance(strategy, str):
        strategy = parse(strategy)
    elif isinstance(strategy, Piece):
        strategy = Strategy(strategy)
    every = max(1, task.steps // 2000) if log_every is None else log_every
    for name, value in (("checkpoint_every", checkpoint_every), ("log_every", every)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be a whole number of steps >= 1; given {value!r}.")
    plan = Plan(task, strategy, seed, label, device, checkpoint_every, every)
    if out is None:
        return train(plan, None, progress=progress, on_step=on_step)
    folder = Path(out)
    _refuse_foreign(folder)
    with lock(folder):
        done = begin(folder, plan, resume=resume)
        if not (folder / EXPERIMENT).exists():
            text = str(strategy)
            write_json(
                folder / EXPERIMENT,
                {
                    "schema": SCHEMA,
                    "kind": "run",
                    "tasks": [task.record()],
                    "strategies": [{"label": label or text, "text": text}],
                    "seeds": [seed],
                    **provenance(),
                },
            )
        return done or train(plan, folder, progress=progress, on_step=on_step)


def resume(folder: str | Path, *, task: Task | None = None, progress: bool = True) -> Run:
    """Go on with the run in a folder, as its ``run.json`` describes it.

    Args:
        folder: Where the run was begun.
        task: The task, where its name cannot load it (a task made in a script).
        progress: Draw a bar on a terminal.
    """
    there = read_run(Path(folder))
    if task is None:
        try:
            task = load(there["task"])
        except (LookupError, TaskError) as error:
            raise RecordError(
                f"the run in {folder} is of task {there['task']!r}, which cannot be loaded by name ({error}) "
                "Hand it over: resume(folder, task=...)."
            ) from error
    return fit(
        task,
        there["strategy"],
        seed=there["seed"],
        steps=there["steps"],
        out=folder,
        resume=True,
        device=there["device"],
        eval_every=there["eval_every"],
        log_every=there["log_every"],
        progress=progress,
        label=there["label"],
    )


def _set(task: Task, steps: int | None, eval_every: int | None) -> Task:
    changes: dict[str, Any] = {}
    if steps is not None:
        changes["steps"] = steps
    if eval_every is not None:
        changes["eval_every"] = eval_every
    return dataclasses.replace(task, **changes) if changes else task


def _refuse_foreign(folder: Path) -> None:
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
    """Write ``run.json``, or check that the one there is the same; the run itself when it has ended already."""
    sweep(folder)
    here = plan.record()
    if not (folder / RUN).exists():
        write_json(folder / RUN, {**here, **provenance()})
        return None
    refuse_other(folder, read_run(folder), here, SAME)
    result = read_result(folder)
    ended = result is not None and result["status"] in ("finished", "diverged")
    if not resume:
        how = f"this run, {result['status']}" if result is not None else "this run, not finished"
        raise RecordError(f"{folder} holds {how}. Go on with resume=True (--resume), or give another folder.")
    if result is None or not ended:
        (folder / RESULT).unlink(missing_ok=True)
        return None
    model = plan.task.build(plan.seed)
    saved, _ = load_checkpoint(folder)
    if saved is not None:
        model.load_state_dict(saved["model"])
    return Run(result, folder, model)


def one_step(task: Task, model: nn.Module, optimizer: Steps, batch: Any) -> float:
    """One gradient and one step: the place where methods that take several gradients a step will differ."""
    optimizer.zero_grad()
    loss = task.training_loss(model, batch)
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.item()


def train(
    plan: Plan,
    folder: Path | None,
    *,
    progress: bool = False,
    on_step: Callable[[int, float], None] | None = None,
) -> Run:
    """Run a plan from its last checkpoint, or from the start, to the end; the folder is the caller's already."""
    task, device = plan.task, torch.device(plan.device)
    with own_random_states(), Stop() as stop, Bar(progress, task.name, task.steps) as bar:
        model = task.build(plan.seed).to(device)
        batches = task.batches(plan.seed)
        optimizer: Steps = plan.strategy.optimizer(model, steps=task.steps, steps_per_epoch=batches.steps_per_epoch)
        seed_all(mix(plan.seed, "training"))
        state, notes = _restore(folder, model, optimizer, plan.device)
        log = _Log(folder, state.step)

        def evaluate() -> dict[str, float]:
            values = task.evaluate(model)
            log.write({"kind": "eval", "step": state.step, "split": "validation", **values})
            log.flush()
            value = values[task.metric]
            state.validated(value, task.goal, task.reached(value))
            bar.evaluated(task.metric, value)
            return values

        def checkpoint() -> None:
            if folder is not None:
                log.flush(sync=True)
                save_checkpoint(folder, pack(state, model, optimizer))

        with log:
            model.train()
            validation = evaluate() if state.step == 0 else _last_evaluation(log)
            saved_at, saved_step, problem = state.seconds, state.step, None
            while state.step < task.steps and not stop.asked:
                step = state.step + 1
                try:
                    with state.timed():
                        loss = one_step(task, model, optimizer, to_device(batches.batch(step - 1), device))
                except NonFiniteError as error:
                    problem = f"{error} (step {step})"
                    break
                state.step = step
                if step % plan.log_every == 0 or not math.isfinite(loss):
                    lr = optimizer.param_groups[0]["lr"]
                    log.write({"kind": "train", "step": step, "loss": loss, "lr": float(lr), **optimizer.metrics})
                problem = state.watch.see(step, loss, bool(optimizer.metrics.get("skipped", False)))
                if problem:
                    break
                if step % task.eval_interval == 0 or step == task.steps:
                    validation = evaluate()
                    optimizer.observe(validation[task.metric])
                due = state.seconds - saved_at > SECONDS
                if step % plan.checkpoint_every == 0 if plan.checkpoint_every else due:
                    checkpoint()
                    saved_at, saved_step = state.seconds, step
                bar.step(step, loss)
                if on_step is not None:
                    on_step(step, loss)

            if problem is None and state.step == task.steps and not math.isfinite(validation[task.metric]):
                problem = f"validation {task.metric} was not finite at the end, step {state.step}"
            if problem:
                status, message, test = "diverged", problem, None
            elif state.step < task.steps:
                status, message, test = "stopped", _how_to_go_on(folder, state.step, task.steps), None
            else:
                status, message = "finished", state.watch.summary()
                test = task.evaluate(model, "test") if task.test is not None else None
            if status != "diverged" and (saved_step < state.step or not (folder and (folder / CHECKPOINT).exists())):
                checkpoint()
            result = {
                "status": status,
                "steps": state.step,
                "gradient_evaluations": state.step,
                "seconds": state.seconds,
                "cpu_seconds": state.cpu_seconds,
                "validation": dict.fromkeys(validation) if status == "diverged" else validation,
                "test": test,
                "best_validation": state.best,
                "time_to_target_steps": state.reached,
                "skipped_steps": state.watch.skipped,
                "message": message,
                "notes": notes,
            }
            if folder is not None:
                log.flush(sync=True)
                write_json(folder / RESULT, result)
    return Run(result, folder, model, log.lines)


def _restore(folder: Path | None, model: nn.Module, optimizer: Steps, device: str) -> tuple[State, list[str]]:
    if folder is None:
        return State(), []
    saved, note = load_checkpoint(folder, device)
    if note:
        warnings.warn(note, WentBack, stacklevel=4)
    if saved is None:
        return State(), []
    return unpack(saved, model, optimizer, str(folder / CHECKPOINT)), [note] if note else []


def _how_to_go_on(folder: Path | None, step: int, steps: int) -> str:
    where = f"stopped at step {step} of {steps}"
    return where if folder is None else f"{where}; go on with: steepest train --resume {shlex.quote(str(folder))}"


class _Log:
    """Lines of metrics: in the folder's file, or in memory where there is no folder."""

    def __init__(self, folder: Path | None, keep_until: int) -> None:
        self.lines: list[dict[str, Any]] | None = [] if folder is None else None
        self.path = None if folder is None else folder / METRICS
        self._file = None
        if self.path is not None:
            if keep_until == 0:
                self.path.unlink(missing_ok=True)
            self._file = Metrics(self.path, keep_until)

    def write(self, entry: dict[str, Any]) -> None:
        if self.lines is not None:
            self.lines.append(entry)
        elif self._file is not None:
            self._file.write(entry)

    def flush(self, *, sync: bool = False) -> None:
        if self._file is not None:
            self._file.flush(sync=sync)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._file is not None:
            self._file.__exit__(*error)


def _last_evaluation(log: _Log) -> dict[str, float]:
    """The validation values that a resumed run had last measured."""
    lines = read_metrics(log.path) if log.path is not None else []
    evals = [line for line in lines if line["kind"] == "eval"]
    if not evals:
        raise RecordError(f"{log.path} holds no evaluation, although the checkpoint is later. Start a new run.")
    return {k: math.nan if v is None else v for k, v in evals[-1].items() if k not in ("kind", "step", "split")}


__all__ = ["Plan", "Run", "TaskError", "WentBack", "begin", "fit", "resume", "train"]
