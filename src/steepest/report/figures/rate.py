"""The learning rate, and every other hyperparameter that a schedule moved."""

from __future__ import annotations

from steepest.report.data import Records, Task
from steepest.report.figures.base import Figure
from steepest.report.figures.over_steps import over_steps

_MEASURED = frozenset({"step", "loss", "lr", "grad_norm", "clip_factor", "skipped"})


def rate_figures(records: Records, task: Task, points: int) -> list[Figure]:
    """The learning rate first; another hyperparameter only where it changes during a run."""
    rate = over_steps(
        records, task, lambda run: run.curve("lr"), title="Learning rate", y="learning rate", points=points
    )
    moved = dict.fromkeys(
        name
        for run in records.of(task)
        for name, values in run.train.items()
        if name not in _MEASURED and len(values) and values.min() != values.max()
    )
    others = [
        over_steps(
            records,
            task,
            lambda run, name=name: run.curve(name),  # type: ignore[misc]
            title=name.replace("_", " ").capitalize(),
            y=name,
            caption="Recorded at each step.",
            points=points,
        )
        for name in moved
    ]
    return [figure for figure in (rate, *others) if figure]
