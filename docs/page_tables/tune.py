"""The tables of docs/tune.md: regret on known functions, evaluations on real tasks."""

from __future__ import annotations

from collections.abc import Iterator

from page_tables.markdown import Row, Tables, results, table


def evaluation_rows() -> Iterator[Row]:
    """How much training each way to search needed until it was as good as the best of 200 random trials."""
    record = results("tune_evaluations")
    tasks, cap = list(record["goal"]), record["cap"]
    yield "scheme", *(f"`{task}`" for task in tasks), "reached", "seeds", "ratio to optuna"

    def shown(value: float) -> str:
        return f"> {cap:.0f}" if value >= cap else f"{value:.0f}"

    for row in record["rows"]:
        cells = [f"{shown(m)} ({shown(low)} to {shown(high)})" for m, low, high in (row["median"][t] for t in tasks)]
        runs = sum(map(len, row["costs"].values()))
        ratio = "{:.2f} ({:.2f} to {:.2f})".format(*row["ratio"])
        name, _, more = row["scheme"].partition(", ")
        name = row["scheme"] if name.startswith("optuna") else f"`{name}`" + (f", {more}" if more else "")
        seeds = sorted({len(of) for of in row["costs"].values()})
        yield (
            name, *cells, f"{runs - row['unreached']} of {runs}", " to ".join(map(str, seeds)),
            "1" if row["scheme"].startswith("optuna") else ratio,
        )  # fmt: skip


def regret_rows() -> Iterator[Row]:
    """How far above the known minimum each sampler ended."""
    measured = results("tune_regret")["samplers"]
    yield "sampler", *next(iter(measured.values())), "seeds", "ms a trial"
    for name, functions in measured.items():
        pairs = ((found["at 30"], found["at 60"]) for found in functions.values())
        cells = (", ".join(f"{x:.0f}" if x >= 100 else f"{x:.2g}" for x in pair) for pair in pairs)
        dear = max(found["ms"] for found in functions.values())
        seeds = min(found.get("seeds", 3) for found in functions.values())
        yield f"`{name}`" if " " not in name else name, *cells, str(seeds), f"{dear:.1f}"


def trials_rows() -> Iterator[Row]:
    """Trainings a minute: plain Optuna around a loop, beside the search."""
    yield "batches of", "sampler", "way", "trainings a minute", "times the loop", "processor s a training"
    for size, measured in results("trials_per_minute").items():
        for row in measured["rows"]:
            loop = next(r for r in measured["rows"] if r["sampler"] == row["sampler"])
            rate, first = (60 * r["runs"] / r["wall"] for r in (row, loop))
            yield (
                size,
                row["sampler"],
                row["way"],
                f"{rate:.0f}",
                f"{rate / first:.1f}",
                f"{row['cpu'] / row['runs']:.2f}",
            )


TABLES: Tables = {
    "tune-regret": lambda: table(*regret_rows()),
    "tune-evaluations": lambda: table(*evaluation_rows()),
    "tune-minute": lambda: table(*trials_rows()),
}
