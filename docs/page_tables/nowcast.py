"""The table of docs/nowcast.md: with nowcasts and without."""

from __future__ import annotations

from collections.abc import Iterator

from page_tables.markdown import Row, Tables, results, table


def nowcast_rows() -> Iterator[Row]:
    """Each task with a tuned setting, and at a low constant rate: with nowcasts and without."""
    yield "task", "setting", "without", "with", "difference", "looks taken", "passes forward a run"
    for row in results("nowcast")["rows"]:
        difference = f"{row['difference']:+.2g} [{row['low']:+.2g}, {row['high']:+.2g}]"
        taken = f"{row['accepted']} of {row['looks']}"
        where = row["where"] if row["where"] != "tuned" else f"`{row['settings']['nowcast']}`"
        yield (
            f"`{row['task']}`", where, f"{row['base']:.3g}", f"{row['nowcast']:.3g}", difference, taken,
            f"{row['passes']:.0f}",
        )  # fmt: skip


def nowcast_machine() -> str:
    """Seeds and machine."""
    record = results("nowcast")
    m, of = record["machine"], record["versions"]
    return f"{record['seeds']} fresh seeds; {m['cpu']}, one thread, Python {of['python']}, torch {of['torch']}.\n"


TABLES: Tables = {
    "nowcast": lambda: table(*nowcast_rows()),
    "nowcast-machine": nowcast_machine,
}
