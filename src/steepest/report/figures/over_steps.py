"""Anything recorded over steps, one line a strategy: the mean over seeds with their range."""

from __future__ import annotations

from collections.abc import Callable

from steepest.report.curves import Curve, band
from steepest.report.data import Records, Run, Task
from steepest.report.figures.base import Figure, Trace, band_traces, frame, lone_traces, scales

CUT = "Cut at twice the largest value of the runs that finished."
CUT_ALONE = "Cut at ten times the largest first value."


def over_steps(
    records: Records,
    task: Task,
    curve: Callable[[Run], Curve],
    *,
    title: str,
    y: str,
    caption: str = "",
    points: int = 400,
    log: bool = True,
    first: str | None = None,
    percent: bool = False,
    cut: bool = True,
) -> Figure | None:
    """The figure, or None when no run of the task recorded the quantity.

    Args:
        records: Where the runs are.
        task: The task whose runs are drawn.
        curve: The curve of one run, empty where it was not recorded.
        title: What is drawn.
        y: Title of the y axis.
        caption: What to know beyond the title.
        points: Most points of a line, at least 4.
        log: Offer a logarithmic y axis where all values are positive.
        first: The axis type to begin with; None to choose by the span of the values.
        percent: Values are shares, shown from 0 to 100 %.
        cut: Keep runs outside the bands from stretching the axis; off for what cannot run away.
    """
    groups = []
    for strategy in records.strategies:
        runs = [(run, curve(run).finite()) for run in records.of(task, strategy)]
        done = [c for run, c in runs if run.status == "finished"]
        groups.append((strategy, band(done), [(run, c) for run, c in runs if run.status != "finished"]))
    inside = [values for _, b, _ in groups for values in (b.low, b.high)]
    outside = [c.values for _, _, lone in groups for _, c in lone]
    ranges, ceiling = frame(inside, outside) if cut else ({}, None)
    data: list[Trace] = []
    value = "%{y:.1%}" if percent else "%{y:.4g}"
    for strategy, b, lone in groups:
        data += band_traces(strategy, b, points, value)
        for run, c in lone:
            data += lone_traces(run, c, points, ceiling)
    if not data:
        return None
    kinds = scales(inside if any(map(len, inside)) else outside, first) if log else ("linear",)
    if ranges and "log" not in ranges:
        kinds = ("linear",)
    shown = [s.label for s, b, lone in groups if b.n or any(len(c.steps) for _, c in lone)]
    sentences = [caption]
    if ceiling is not None:
        sentences.append(CUT if any(map(len, inside)) else CUT_ALONE)
    axis: dict[str, object] = {"title": {"text": y}}
    if percent:
        axis |= {"tickformat": ".0%", "range": [-0.02, 1.02]}
    return Figure(
        title=title,
        caption=" ".join(sentence for sentence in sentences if sentence),
        alt=f"{title} on {task.name} over steps, for {', '.join(shown)}.",
        data=data,
        x={"title": {"text": "step"}, "rangemode": "tozero"},
        y=axis,
        scales=kinds,
        ranges=ranges,
    )
