"""The training loop: one task, one strategy, one seed."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steepest.core.errors import NonFiniteError
from steepest.core.records import RESULT, write_json
from steepest.core.several import Several
from steepest.fit.deploy import deployed, weights
from steepest.fit.early import words
from steepest.fit.interrupt import Stop
from steepest.fit.plan import Plan
from steepest.fit.progress import Bar
from steepest.fit.protocol import Steps
from steepest.fit.run import Run
from steepest.fit.state import own_random_states
from steepest.fit.threads import threads, wanted
from steepest.fit.training import Training
from steepest.fit.watching import watched
from steepest.tasks.data import to_device
from steepest.tasks.task import Task
from steepest.wrappers.replay import Replay


def train(
    plan: Plan,
    folder: Path | None,
    *,
    progress: bool = False,
    on_step: Callable[[int, float], None] | None = None,
) -> Run:
    """Run a plan from its last checkpoint, or from the start, to the end; the folder is the caller's already."""
    task = plan.task
    with (
        own_random_states(),
        Stop() as stop,
        Bar(progress, task.name, task.steps) as bar,
        Training.open(plan, folder) as run,
        threads(wanted(run.model, run.device, plan.threads)),
        watched(run) as monitor,
    ):
        state, optimizer, problem = run.state, run.optimizer, None
        if state.step == 0 or not run.validation:
            bar.evaluated(task.metric, run.evaluate())
        while state.step < task.steps and not (stop.asked or problem or run.over or run.left()):
            spent = 0.0 if monitor is None else monitor.budget.spent
            try:
                with state.timed():
                    batch = to_device(run.batches.batch(state.step), run.device)
                    if monitor is not None:
                        monitor.see(batch)
                    loss = one_step(task, run.model, optimizer, batch)
            except NonFiniteError as error:  # the strategy says to stop there
                problem = f"{error}".rstrip(".")
                if f"step {state.step + 1}:" not in problem:
                    problem += f" (step {state.step + 1})"
                break
            if monitor is not None:  # it is no part of training
                state.seconds -= monitor.budget.spent - spent
            state.step += 1
            look_ahead(run)
            if state.step % plan.log_every == 0 or not math.isfinite(loss):
                run.write("train", loss=loss, lr=float(optimizer.param_groups[0]["lr"]), **optimizer.metrics)
            skipped, norm = bool(optimizer.metrics.get("skipped")), optimizer.metrics.get("grad_norm", math.nan)
            problem = state.watch.see(state.step, loss, skipped, norm)
            if not problem:
                if state.step % task.eval_interval == 0 or state.step == task.steps:
                    value = run.evaluate()
                    run.observe(value)
                    bar.evaluated(task.metric, value)
                run.checkpoint_if_due()
            bar.step(state.step, loss)
            if on_step is not None:
                on_step(state.step, loss)
        if monitor is not None:
            run.monitored = monitor.summary()
        return finish(run, problem)


def one_step(task: Task, model: nn.Module, optimizer: Steps, batch: Any) -> float:
    """One call of the optimizer on one batch; it asks for the gradient, some methods more than once."""
    several = getattr(optimizer, "tasks", None)
    if several is not None:
        return _several(task, model, optimizer, several, batch)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss, output = task.training_step(model, batch)
        if getattr(optimizer, "estimator", None) == "gauss-newton-bartlett":
            made: Any = optimizer
            made.backward(loss, logits=task.class_scores(output, batch))
        else:
            optimizer.backward(loss)
        return loss

    return float(optimizer.step(closure).detach())


def look_ahead(run: Training) -> None:
    """Let a nowcast look, where one is due: on batches that training has yet to see."""
    ahead = getattr(run.optimizer, "ahead", None)
    if ahead is None or not ahead.due:
        return
    again = Replay(None)

    def probe(i: int) -> float:
        batch = to_device(run.batches.batch(run.state.step + i), run.device)
        with again, torch.no_grad():
            return float(run.plan.task.training_loss(run.model, batch))

    with run.state.timed():
        look = ahead.look(probe)
    run.write("nowcast", **look.record())


def _several(task: Task, model: nn.Module, optimizer: Any, several: Several, batch: Any) -> float:
    """The same where a multi-task method combines the losses of the task; what is returned is the task's own loss."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss, losses = task.training_tasks(model, batch)
        optimizer.backward(losses)
        return loss

    again = Replay(optimizer)
    loss = float(optimizer.step(closure))
    if several.listens:
        with again, torch.no_grad():
            several.after(task.training_losses(model, batch))
    return loss


def finish(run: Training, problem: str | None) -> Run:
    """Say how it ended; the test split is touched here, once, by a run that finished."""
    plan, task, state = run.plan, run.plan.task, run.state
    test = None
    kept = state.kept if state.step == task.steps or run.over else None
    last = run.validation if kept is None else kept.validation
    if not problem and (state.step == task.steps or run.over) and not math.isfinite(last[task.metric]):
        problem = f"validation {task.metric} was not finite at the end, step {state.step}"
    if problem:
        status, message = "diverged", problem
    elif run.over:
        status, message = "finished", "; ".join(filter(None, (words(run), state.watch.summary())))
    elif left := run.left():
        status, message = left, plan.leave.words(left, state.step, task.steps)
    elif state.step < task.steps:
        status, message = "stopped", f"stopped at step {state.step} of {task.steps}"
        if run.folder is not None:
            message += f"; go on with: steepest train --resume {shlex.quote(str(run.folder))}"
    else:
        status, message = "finished", state.watch.summary()
    if status != "diverged":
        run.checkpoint_at_the_end()  # before the test split, so that an error there costs no training
    if status == "paused":
        run.measure()
    best = None
    if status == "finished" and kept is not None:
        run.validation, best = kept.validation, kept.weights
    if status == "finished" and task.test is not None:
        with deployed(plan, run.model, run.optimizer, best):
            test = task.evaluate(run.model, "test")
    if best is None and status != "diverged":
        best = weights(plan, run.model, run.optimizer)
    if best is not None:
        run.model.load_state_dict(best)  # what the caller gets is the model for use
    ahead = getattr(run.optimizer, "ahead", None)
    if ahead is not None and (said := ahead.summary()):
        run.notes.append(said)
    result = run.result(status, message, test)
    if run.folder is not None:
        write_json(run.folder / RESULT, result)
    return Run(result, run.folder, run.model, run.lines)
