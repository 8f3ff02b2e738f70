"""How a federation fares, and how it ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from steepest.core.records import RESULT, load_checkpoint, write_json
from steepest.federated.journal import Federated
from steepest.federated.local import Pull
from steepest.federated.measure import spread

if TYPE_CHECKING:
    from steepest.federated.rounds import Rounds


def look(run: Rounds) -> None:
    """Measure the clients, by the global model and by their own where they have some."""
    run.by_client = run.measure(run.server.model)
    if not run.method.personal:
        return
    who, w = run.measure.who, run.server.weights()
    if run.method.passes:
        work = run.data.work(who, run.turn, run.fed.batch, run.method.passes)
        start = w.to(run.vectors.dtype)
        own = run.engine.train(work, max(0, run.turn - 1), start, dict(run.server.buffers), Pull()).weights
    else:
        rows = {name: run.stores[name].read(who) for name in run.method.rows}
        own = run.method.own(rows, w)
    run.own = run.measure(run.server.model, own)


def evaluate(run: Rounds) -> float:
    """Measure the global model and the clients, and write it down; the value that counts."""
    task = run.task
    with run.server.optimizer.evaluating():
        run.validation = task.evaluate(run.server.model)
        look(run)
        more = {} if run.settings.attack is None else run.settings.attack.success(run.server.model, task)
    run.line("eval", split="validation", **run.validation)
    found = {"global": run.by_client[task.metric]}
    if run.own:
        found["own"] = run.own[task.metric]
    spreads = {which: spread(values, task.goal) for which, values in found.items()}
    said = {f"{which}_{name}": value for which, own in spreads.items() for name, value in own.items()}
    run.line("clients", metric=task.metric, **said, **more)
    if run.guard is not None:
        run.line("privacy", **run.guard.report())
    value = float(run.validation[task.metric])
    better = run.best is None or (value < run.best if task.goal == "min" else value > run.best)
    if math.isfinite(value) and better:
        run.best = value
    if task.reached(value) and run.reached is None:
        run.reached = run.turn
    return value


def finish(run: Rounds, problem: str | None) -> Federated:
    """The result, written where there is a folder."""
    task, test, message = run.task, None, ""
    if not run.by_client:  # killed after the last measurement
        with run.server.optimizer.evaluating():
            look(run)
    if problem is None and run.turn == run.rounds and not math.isfinite(run.validation[task.metric]):
        problem = f"validation {task.metric} was not finite at the end, round {run.turn}"
    if problem is not None:
        status, message = "diverged", problem
    elif run.turn < run.rounds and not run.over:
        status, message = "stopped", f"stopped after round {run.turn} of {run.rounds}"
    else:
        status = "finished"
        if task.test is not None:
            with run.server.optimizer.evaluating():
                test = task.evaluate(run.server.model, "test")
        said = [f"{run.refused} updates were rejected"] if run.refused else []
        if run.turn < run.rounds:
            said.append(f"the privacy budget is spent after round {run.turn} of {run.rounds}")
        message = "; ".join(said)
    own = {f"own_{name}": values for name, values in run.own.items()}
    result = {
        "status": status,
        "steps": run.turn,
        "gradient_evaluations": run.evaluations,
        "seconds": run.seconds,
        "cpu_seconds": run.cpu_seconds,
        "validation": dict.fromkeys(run.validation) if status == "diverged" else run.validation,
        "test": test,
        "best_validation": run.best,
        "time_to_target_steps": run.reached,
        "skipped_steps": 0,
        "message": message,
        "notes": [] if run.fed.reason is None else [f"not stacked: {run.fed.reason}"],
        "monitor": None,
        "executor": run.fed.engine,
        "bytes_up": run.traffic.up,
        "bytes_down": run.traffic.down,
        "rejected": run.refused,
        "liars": sorted(run.liars),
        "clients": {"number": run.measure.who, **run.by_client, **own},
    }
    if run.guard is not None:
        result["privacy"] = run.guard.report()
        if run.settings.privacy.random != "system":
            result["notes"] = [*result["notes"], "not private: the noise follows from the seed (random='seed')"]
    if run.settings.clock is not None or run.method.buffer:
        result["time"] = run.course.time
    if run.settings.attack is not None:
        with run.server.optimizer.evaluating():
            result |= run.settings.attack.success(run.server.model, task)
    if run.folder is not None:
        write_json(run.folder / RESULT, result)
    return Federated(result, run.folder, run.server.model, run.lines, run.fed, run.record, type(run.fed).render)


def ended(run: Rounds, result: dict[str, object]) -> Federated:
    """A federation that has ended before, as its records tell it."""
    assert run.folder is not None
    saved, _ = load_checkpoint(run.folder)
    model = run.fed.model()
    if saved is not None:
        model.load_state_dict(saved["model"])
    return Federated(result, run.folder, model, None, run.fed, run.record, type(run.fed).render)
