"""What ``make demo`` shows."""

from __future__ import annotations

from collections.abc import Iterator

from page_tables.markdown import RESULTS, Row, Tables, results, table


def demo_rows() -> Iterator[Row]:
    """The leaderboards of ``make demo``."""
    yield "task", "rank", "strategy", "validation", "test", "against the best (95 % interval)", "separable"
    for name, task in results("demo")["tasks"].items():
        for row in task["leaderboard"]:
            validation, test, gap = row["validation"], row["test"], row["against_best"] or {}
            interval = f"{gap['difference']:+.3g} [{gap['low']:+.3g}, {gap['high']:+.3g}]" if gap.get("low") else ""
            separable = {True: "yes", False: "no"}.get(gap.get("separable"), "")
            yield (
                name,
                str(row["rank"]),
                f"`{row['label']}`",
                f"{validation['mean']:.4g} ± {validation['sd']:.2g}",
                f"{test['mean']:.4g}",
                interval,
                separable,
            )


def demo_output() -> str:
    """What ``make demo`` printed."""
    text = (RESULTS / "demo.txt").read_text(encoding="utf-8")
    return f"```text\n{text.rstrip()}\n```\n"


TABLES: Tables = {
    "demo": lambda: table(*demo_rows()),
    "demo-output": demo_output,
}
