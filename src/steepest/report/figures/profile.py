"""The performance profile: on what share of the tasks a strategy is within a factor of the fastest."""

from __future__ import annotations

from steepest.report.data import Records, mapping, number
from steepest.report.figures.base import Figure, Trace, handle
from steepest.report.style import colour, dash


def profile_figure(records: Records) -> Figure | None:
    """A staircase for each strategy; None where no suite was scored."""
    suite = mapping(mapping(mapping(records.summary).get("overall")).get("suite"))
    tau, shares = suite.get("tau"), mapping(suite.get("profile"))
    if not isinstance(tau, list) or not any(any(mapping(shares).get(s.label) or ()) for s in records.strategies):
        return None
    data: list[Trace] = []
    for strategy in records.strategies:
        rho = shares.get(strategy.label)
        if not isinstance(rho, list) or len(rho) != len(tau):
            continue
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "legendgroup": f"s{strategy.index}",
                "name": handle(strategy),
                "x": tau,
                "y": [number(v) for v in rho],
                "line": {
                    "color": colour(strategy.index), "dash": dash(strategy.index), "width": 2, "shape": "hv"
                },
                "hovertemplate": "%{y:.0%}",
            }
        )  # fmt: skip
    return Figure(
        title="Within a factor of the fastest",
        caption="Share of tasks on which a strategy needs at most so many times the steps of the fastest to the "
        "target; a task whose target it misses never counts. Higher and further left is better.",
        alt="Performance profile, a staircase a strategy. The table above has the scores, which are the areas below.",
        data=data,
        x={"title": {"text": "steps to target, times those of the fastest"}, "range": [1, 4]},
        y={"title": {"text": "share of tasks"}, "range": [-0.03, 1.03], "tickformat": ".0%"},
    )
