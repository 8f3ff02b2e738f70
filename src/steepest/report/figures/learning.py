"""Loss and metric curves: training loss smoothed, validation as it was measured."""

from __future__ import annotations

from steepest.report.curves import Curve, smooth, window
from steepest.report.data import Records, Run, Task
from steepest.report.figures.base import Figure
from steepest.report.figures.over_steps import over_steps


def smoothed(run: Run, column: str) -> Curve:
    """A training column under a centred moving average over 2 % of its points."""
    raw = run.curve(column)
    return Curve(raw.steps, smooth(raw.values, window(len(raw.values))))


def loss_figures(records: Records, task: Task, points: int) -> list[Figure]:
    """Training loss and validation loss, side by side."""
    width = max((window(len(run.train.get("step", ()))) for run in records.of(task)), default=1)
    train = over_steps(
        records,
        task,
        lambda run: smoothed(run, "loss"),
        title="Training loss",
        y="loss",
        caption=f"Centred mean over {width} records." if width > 1 else "",
        points=points,
    )
    validation = over_steps(
        records, task, lambda run: run.curve("loss", "validation"), title="Validation loss", y="loss", points=points
    )
    return [figure for figure in (train, validation) if figure]


def metric_figures(records: Records, task: Task, points: int) -> list[Figure]:
    """One figure for every metric that was evaluated beside the loss."""
    names = dict.fromkeys(name for run in records.of(task) for name in run.evaluations)
    figures = [
        over_steps(
            records,
            task,
            lambda run, name=name: run.curve(name, "validation"),  # type: ignore[misc]
            title=f"Validation {name}",
            y=name,
            caption="This metric chooses." if name == task.metric else "",
            points=points,
            first="linear",
        )
        for name in names
        if name not in ("step", "loss")
    ]
    return [figure for figure in figures if figure]
