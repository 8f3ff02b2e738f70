"""The table of docs/transfer.md: ways of going on from a run."""

from __future__ import annotations

from collections.abc import Iterator

from page_tables.markdown import Row, Tables, results, table


def transfer_rows() -> Iterator[Row]:
    """Each way of going on from a run, beside training from scratch."""
    yield "question", "way", "validation loss", "test error", "against scratch"
    for question in results("transfer")["questions"]:
        said = f"{question['question']}: {question['samples']} samples, {question['steps']} steps"
        for row in question["rows"]:
            d, way = row["against_scratch"], row["strategy"].rpartition(")")[0].rpartition("| ")[2] + ")"
            against = "" if d is None else f"{d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
            way = row["label"] if d is None else "`start`" if way.startswith("start(") else f"`start`, `{way}`"
            error = f"{100 * row['test_error']['mean']:.1f} %"
            yield said, way, f"{row['validation']['mean']:.3f}", error, against
            said = ""


TABLES: Tables = {
    "transfer": lambda: table(*transfer_rows()),
}
