"""The learning rate, and every other hyperparameter that a schedule moved."""

from __future__ import annotations

import numpy as np

from steepest.report.data import Records, Task
from steepest.report.figures.base import Figure
from steepest.report.figures.over_steps import over_steps

_MEASURED = frozenset({"step", "loss", "lr", "grad_norm", "clip_factor", "skipped"})


def rate_figures(records: Records, task: Task, points: int) -> list[Figure]:
    """The learning rate, and any other hyperparameter that changes during a run.

    The axis of the learning rate begins linear unless strategies peak more than 30 times apart.
    """
    peaks = [float(np.nanmax(run.train["lr"])) for run in records.of(task) if len(run.train.get("lr", ()))]
    far = bool(peaks) and 0 < 30 * min(peaks) < max(peaks)
    rate = over_steps(
        records,
        task,
        lambda run: run.curve("lr"),
        title="Learning rate",
        y="learning rate",
        points=points,
        cut=False,
        first="log" if far else "linear",
    )
    moved = dict.fromkeys(
        name
        for run in records.of(task)
        for name, values in run.train.items()
        if name not in _MEASURED and np.isfinite(values).any() and np.nanmin(values) != np.nanmax(values)
    )
    others = [
        over_steps(
            records,
            task,
            lambda run, name=name: run.curve(name),  # type: ignore[misc]
            title=name.replace("_", " ").capitalize(),
            y=name,
            points=points,
            cut=False,
        )
        for name in moved
    ]
    return [figure for figure in (rate, *others) if figure]
