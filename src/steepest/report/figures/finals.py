"""Final values, one dot a seed, and the same seeds as differences to the best strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steepest.report.data import Records, Strategy, Task, mapping, number
from steepest.report.figures.base import Figure, Trace, handle, markers
from steepest.report.ranking import final_values, ranked
from steepest.report.words import listed, plural


def _rows(strategies: Sequence[Strategy]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(strategies))),
        "ticktext": [handle(strategy, 16) for strategy in strategies],
        "range": [len(strategies) - 0.5, -0.5],
        "showgrid": False,
        "ticks": "",
        "tickfont": {"size": 12},
    }


def _spots(strategy: Strategy, row: int, values: Mapping[int, float], value: str) -> list[Trace]:
    """The dots of one row, spread a little so that equal values are all seen, and a bar at their mean."""
    n = len(values)
    if not n:
        return []
    spread = [0.0] if n == 1 else [0.44 * (i / (n - 1) - 0.5) for i in range(n)]
    shared = {"type": "scatter", "legendgroup": f"s{strategy.index}", "name": handle(strategy)}
    text = [f"seed {seed}" for seed in values]
    dots = shared | {"mode": "markers", "x": list(values.values()), "y": [row + d for d in spread], "text": text}
    mean = sum(values.values()) / n
    bar = {"symbol": "line-ns-open", "size": 26, "color": markers(strategy.index)["color"], "line": {"width": 2.5}}
    middle = shared | {"mode": "markers", "x": [mean], "y": [row], "marker": bar}
    return [
        dots | {"marker": markers(strategy.index), "hovertemplate": f"%{{text}}: {value}"},
        middle | {"hovertemplate": f"mean: {value}"},
    ]


def finals_figure(records: Records, task: Task) -> Figure | None:
    """A strip of final values for each strategy, best first; runs without a value are counted at the right."""
    order = ranked(records, task)
    data: list[Trace] = []
    notes: list[Trace] = []
    words: list[str] = []
    for row, strategy in enumerate(order):
        values = final_values(records, task, strategy)
        data += _spots(strategy, row, values, "%{x:.5g}")
        lost = [run.status for run in records.of(task, strategy) if run.seed not in values]
        counts = listed([f"{lost.count(status)} {status}" for status in dict.fromkeys(lost)]) if lost else ""
        if counts and values:
            words.append(f"{strategy.label}: {counts}")
        elif counts:
            notes.append({"text": counts, "x": 0.5, "xref": "paper", "y": row, "yref": "y"})
    if not data:
        return None
    return Figure(
        title=f"Final validation {task.metric} by seed",
        caption=f"A dot a seed, a bar at the mean; {'smaller' if task.goal == 'min' else 'larger'} is better."
        + (f" Without a value: {'; '.join(words)}." if words else ""),
        alt=f"Final validation {task.metric} on {task.name}, a dot a seed. The leaderboard has the numbers.",
        data=data,
        x={"title": {"text": task.metric}, "showgrid": True},
        y=_rows(order),
        height=96 + 52 * len(order),
        layout={"hovermode": "closest", "annotations": notes},
    )


def differences_figure(records: Records, task: Task) -> Figure | None:
    """Each seed's value minus the best strategy's value on the same seed, with the recorded interval of the mean."""
    order = ranked(records, task)
    reference = final_values(records, task, order[0]) if order else {}
    rest = order[1:]
    board = {str(row.get("label")): mapping(row.get("against_best")) for row in records.board(task)}
    data: list[Trace] = []
    most = 0
    for row, strategy in enumerate(rest):
        values = final_values(records, task, strategy)
        paired = {seed: values[seed] - reference[seed] for seed in values if seed in reference}
        most = max(most, len(paired))
        data += _spots(strategy, row, paired, "%{x:+.4g}")
        entry = board.get(strategy.label, {})
        low, high = number(entry.get("low")), number(entry.get("high"))
        if low is not None and high is not None:
            data.append(
                {"type": "scatter", "mode": "lines+markers", "legendgroup": f"s{strategy.index}", "x": [low, high]}
                | {"y": [row + 0.34, row + 0.34], "line": {"color": markers(strategy.index)["color"], "width": 3}}
                | {"marker": {"symbol": "line-ns-open", "size": 9, "color": markers(strategy.index)["color"]}}
                | {"hovertemplate": "interval of the mean: %{x:+.4g}", "name": handle(strategy)}
            )
    if not data:
        return None
    side = "right" if task.goal == "min" else "left"
    best = order[0].label
    return Figure(
        title="Difference to the best, seed by seed",
        caption=f"Value minus that of {best} on the same seed ({plural(most, 'pair')}); to the {side} of zero "
        "is worse. Bar below the dots: interval of the mean difference; where it covers zero the two are not separable.",
        alt=f"Paired differences to {best} on {task.name}, a row a strategy. The leaderboard has the numbers.",
        data=data,
        x={"title": {"text": f"difference in {task.metric}"}, "showgrid": True},
        y=_rows(rest),
        height=96 + 52 * len(rest),
        layout={
            "hovermode": "closest",
            "shapes": [{"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dot"}}],
        },
    )
