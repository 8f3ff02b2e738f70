"""The table of docs/monitor.md: what watching costs."""

from __future__ import annotations

from collections.abc import Iterator

from page_tables.markdown import Row, Tables, results, table


def monitor_rows() -> Iterator[Row]:
    """What watching costs, by optimizer, task and preset."""
    yield "optimizer", "task", "steps", "ms a step", *(name for name in ("economy", "normal", "full"))
    for kind, tasks in results("monitor")["overhead"].items():
        for task, row in tasks.items():
            pairs = [(row["percent"][p], row["own percent"][p]) for p in ("economy", "normal", "full")]
            costs = [f"{whole:+.1f} % ({own:.1f} %)" for whole, own in pairs]
            name = "torch, fused" if kind == "torch" else kind
            yield name, task, str(row["steps"]), f"{row['ms a step']:.2g}", *costs


TABLES: Tables = {
    "monitor": lambda: table(*monitor_rows()),
}
