"""The loss against what the training costs: every trial, the front, and what the front comes to on other seeds."""

from __future__ import annotations

import numpy as np

from steepest.report.data import Records
from steepest.report.figures.base import Figure, Trace, handle, log_ticks, markers, scales
from steepest.report.figures.search import words_of
from steepest.report.html import Html, element
from steepest.report.style import colour
from steepest.report.tables import Cell, Column, brief, table
from steepest.report.trials import BROKEN, Tuning
from steepest.report.words import figure as shown
from steepest.report.words import listed, plural

UNITS = {"steps": "steps", "seconds": "processor seconds"}
LINE = "#24292F"


def pareto_figure(records: Records, tuning: Tuning) -> Figure | None:
    """A dot a trial; the staircase is the front; bars are what its settings came to on other seeds."""
    by_label = {s.label: s for s in records.strategies}
    data: list[Trace] = []
    costs: list[float] = []
    lost = 0
    for arm in tuning.arms:
        strategy = by_label.get(arm.label)
        if strategy is None:
            continue
        legs = [leg for leg in arm.legs if leg.seed == 0 and leg.value is not None and leg.cost is not None]
        lost += sum(leg.seed == 0 and leg.status in BROKEN for leg in arm.legs)
        costs += [leg.cost for leg in legs if leg.cost is not None]
        data.append(
            {"type": "scatter", "mode": "markers", "name": handle(strategy), "legendgroup": f"s{strategy.index}"}
            | {"x": [leg.cost for leg in legs], "y": [leg.value for leg in legs]}
            | {"text": [f"trial {leg.trial}<br>{words_of(leg.point)}" for leg in legs]}
            | {"marker": markers(strategy.index, 7) | {"opacity": 0.45}, "hovertemplate": "%{y:.4g}, %{text}"}
        )
    if not costs:
        return None
    rows = [row for row in tuning.front if row.get("cost") is not None and row.get("value") is not None]
    if rows:
        data.append(
            {"type": "scatter", "mode": "lines", "name": "front", "hoverinfo": "skip"}
            | {"x": [r["cost"] for r in rows] + [max(costs)]}
            | {"y": [r["value"] for r in rows] + [rows[-1]["value"]]}
            | {"line": {"color": LINE, "width": 1.5, "shape": "hv"}}
        )
    for row in rows:
        strategy = by_label.get(str(row.get("arm")))
        fresh = [v for v in row.get("fresh") or [] if v is not None]
        if strategy is None or not fresh:
            continue
        mean = sum(fresh) / len(fresh)
        look = {"color": colour(strategy.index), "thickness": 1.5, "width": 4}
        spread = {"array": [max(fresh) - mean], "arrayminus": [mean - min(fresh)], "symmetric": False, "visible": True}
        data.append(
            {"type": "scatter", "mode": "markers", "name": handle(strategy), "legendgroup": f"s{strategy.index}"}
            | {"x": [row["cost"]], "y": [mean], "error_y": spread | look}
            | {"marker": {"symbol": "diamond-open", "size": 10, "color": colour(strategy.index), "line": {"width": 2}}}
            | {"hovertemplate": f"{len(fresh)} other seeds: %{{y:.4g}}"}
        )
    unit = UNITS.get(tuning.against or "", str(tuning.against))
    numbers = [np.array([y for y in trace["y"] if y is not None], dtype=np.float64) for trace in data]
    caption = "A dot a trial on the seed of the search; below and left of the line nothing was found."
    caption += " Open diamonds: what the front comes to on other seeds, with their range." if len(data) > 2 else ""
    caption += f" {plural(lost, 'trial')} diverged or failed." if lost else ""
    return Figure(
        title=f"Validation {tuning.metric} against {unit}",
        caption=caption,
        alt=f"Validation {tuning.metric} on {tuning.task} against {unit}: {plural(len(costs), 'trial')} of "
        f"{listed([arm.label for arm in tuning.arms])}; {len(rows)} of them on the front. The table has its numbers.",
        data=data,
        x={"title": {"text": unit}, "type": "log", **log_ticks(min(costs), max(costs))},
        y={"title": {"text": tuning.metric}},
        height=380,
        scales=scales(numbers),
        layout={"hovermode": "closest"},
    )


def _cost(tuning: Tuning, cost: float) -> str:
    return f"{cost:,.0f}" if tuning.against == "steps" else shown(cost)


def front_table(records: Records, tuning: Tuning) -> Html | None:
    """The front in numbers, with the strategies to paste."""
    by_label = {s.label: s for s in records.strategies}
    unit = UNITS.get(tuning.against or "", str(tuning.against))
    columns = [
        Column("Strategy", numeric=False),
        Column("Length", hint="steps of a run"),
        Column(unit[0].upper() + unit[1:]),
        Column(tuning.metric, hint="on the seed of the search"),
        Column("Other seeds", hint="mean over seeds by which the front was not chosen"),
    ]
    rows = []
    for row in tuning.front:
        strategy = by_label.get(str(row.get("arm")))
        if strategy is None or row.get("cost") is None:
            continue
        fresh = [v for v in row.get("fresh") or [] if v is not None]
        mean = sum(fresh) / len(fresh) if fresh else None
        said = listed([shown(v) for v in fresh]) if fresh else None
        rows.append(
            [
                Cell(brief(strategy, element("code", str(row.get("strategy")))), strategy.label.lower()),
                Cell(str(row.get("steps")), float(row.get("steps") or 0)),
                Cell(_cost(tuning, float(row["cost"])), row["cost"]),
                Cell(shown(row.get("value")), row.get("value")),
                Cell(shown(mean), mean, said),
            ]
        )
    return table("front", f"The front on {tuning.task}", columns, rows) if rows else None
