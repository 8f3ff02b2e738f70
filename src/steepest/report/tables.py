"""Tables: the leaderboard, the standing over tasks, what clipping did, and which runs are not there."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steepest.core.letters import letter
from steepest.report.data import Records, Run, Strategy, Task, mapping, number
from steepest.report.figures.gradient import ClipFacts
from steepest.report.html import Child, Html, element
from steepest.report.ranking import final_values, ranked
from steepest.report.style import colour, ink
from steepest.report.words import DASH, count, difference, duration, figure, mean_sd, plural, spread


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number or text that it is sorted by (None sorts last)."""

    shown: Child
    key: float | str | None = None
    note: Child = None


@dataclass(frozen=True)
class Column:
    """The head of a column; ``numeric`` ones are set right, and sorted as numbers."""

    title: str
    numeric: bool = True
    hint: str = ""


def table(name: str, caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Html:
    """A table whose headers are buttons that sort it; it scrolls inside its own frame where it is too wide."""
    head = element(
        "tr",
        [
            element(
                "th",
                element("button", column.title, type="button", title=column.hint or None),
                scope="col",
                class_="number" if column.numeric else None,
                aria_sort="none",
            )
            for column in columns
        ],
    )
    body = [
        element(
            "tr",
            [
                element(
                    "th" if place == 0 else "td",
                    cell.shown,
                    element("small", cell.note) if cell.note else None,
                    scope="row" if place == 0 else None,
                    class_="number" if column.numeric else None,
                    data_sort="" if cell.key is None else cell.key,
                )
                for place, (column, cell) in enumerate(zip(columns, row, strict=True))
            ],
        )
        for row in rows
    ]
    inner = element("table", element("caption", caption), element("thead", head), element("tbody", body), id=name)
    return element("div", inner, class_="scroll", role="region", aria_label=caption, tabindex=0)


def chip(strategy: Strategy) -> Html:
    """The colour of a strategy as a small mark; its style is one of a fixed set, never text from records."""
    look = f"background:{colour(strategy.index)};color:{ink(strategy.index)}"
    return element("span", letter(strategy.index), class_="chip", style=look)


def spelt(strategy: Strategy) -> bool:
    """Whether the label is itself a text form, so that the full text says nothing more."""
    return "(" in strategy.label or "|" in strategy.label


def brief(strategy: Strategy, *below: Child) -> Html:
    """A strategy's mark and label; a label that is a text form is set as code."""
    name = element("b", strategy.label, class_="text" if spelt(strategy) else None)
    return element("span", chip(strategy), element("span", name, below), class_="named")


def named(strategy: Strategy) -> Html:
    """A strategy's mark and label, with its text below where that says more."""
    more = strategy.text and not spelt(strategy) and strategy.text != strategy.label
    return brief(strategy, element("code", strategy.text) if more else None)


def full(strategy: Strategy) -> Html:
    """A strategy's mark, label and text, even where the text only spells out the label's defaults."""
    return brief(strategy, element("code", strategy.text) if strategy.text not in ("", strategy.label) else None)


def with_marks(words: str, strategies: Sequence[Strategy]) -> list[Child]:
    """A sentence in which every quoted label of a strategy is set with its mark.

    >>> print(*with_marks("so 'cnn' is best.", [Strategy(0, "cnn", "")]))
    so  <span class="quoted"><span ...>A</span> <b>cnn</b></span>  is best.
    """
    quotes = {repr(strategy.label): strategy for strategy in strategies}
    if not quotes:
        return [words]
    pattern = "|".join(re.escape(quote) for quote in sorted(quotes, key=len, reverse=True))
    parts: list[Child] = []
    for part in re.split(f"({pattern})", words):
        found = quotes.get(part)
        if found is None:
            parts.append(part)
        else:
            name = element("b", found.label, class_="text" if spelt(found) else None)
            parts.append(element("span", chip(found), " ", name, class_="quoted"))
    return parts


def _mean(row: Mapping[str, Any], name: str, runs: Sequence[Run]) -> float | None:
    """A mean as the summary has it, else over the results at hand."""
    recorded = number(mapping(row.get(name)).get("mean"))
    values = [value for run in runs if (value := number(run.result.get(name))) is not None]
    return recorded if recorded is not None else mean_sd(values)[0]


def _difference(row: Mapping[str, Any], first: bool) -> Cell:
    """Difference to the best with its interval, and whether the two are separable."""
    if first:
        return Cell("best", 0.0)
    against = mapping(row.get("against_best"))
    value, low, high = (number(against.get(key)) for key in ("difference", "low", "high"))
    shown, interval = difference(value, low, high)
    separable = against.get("separable")
    words = {True: "separable", False: "not separable"}.get(separable, "") if isinstance(separable, bool) else ""
    probability = number(against.get("p_better"))
    hint = None if probability is None else f"better than the best on {100 * probability:.0f} % of the seeds"
    mark = element("span", words or "not known", class_=f"tag {'yes' if separable else 'no'}", title=hint)
    return Cell(shown, None if value is None else abs(value), [interval, element("br") if interval else None, mark])


def _ended(runs: Sequence[Run], row: Mapping[str, Any]) -> Cell:
    """How many runs ended, and how many of them badly."""
    counts = {status: sum(run.status == status for run in runs) for status in ("diverged", "failed")}
    counts = {status: int(number(row.get(status)) or n) for status, n in counts.items()}
    absent = sum(run.status in ("missing", "unfinished", "stopped") for run in runs)
    bad = [f"{n} {status}" for status, n in counts.items() if n] + ([f"{absent} not finished"] if absent else [])
    shown = element("span", ", ".join(bad), class_="tag bad") if bad else "none"
    return Cell(shown, float(sum(counts.values()) + absent))


def _values(row: Mapping[str, Any], split: str, task: Task, runs: Sequence[Run]) -> tuple[float | None, float | None]:
    """Mean and standard deviation on a split: as the summary has them, else over the results at hand."""
    recorded = mapping(row.get(split))
    if (mean := number(recorded.get("mean"))) is not None:
        return mean, number(recorded.get("sd"))
    return mean_sd([value for run in runs if (value := run.final(task.metric, split)) is not None])


def _target(row: Mapping[str, Any], runs: Sequence[Run]) -> Cell:
    """Median steps to the target (a seed that never got there is later than all), and how many seeds reached it."""
    target = mapping(row.get("time_to_target"))
    steps, reached, n = (number(target.get(key)) for key in ("steps", "reached", "n"))
    if not target:
        ended = [run for run in runs if run.status in ("finished", "diverged", "failed")]
        times = [math.inf if (at := number(run.result.get("time_to_target_steps"))) is None else at for run in ended]
        reached, n = float(sum(map(math.isfinite, times))), float(len(times))
        steps = number(statistics.median_high(times)) if times else None
    return Cell(count(steps), steps, f"{int(reached)} of {int(n)}" if n and reached is not None else "")


def leaderboard(records: Records, task: Task, name: str) -> Html:
    """One row a strategy, best first. Without a summary: means of the runs at hand, and no intervals."""
    columns = [
        Column("Strategy", numeric=False),
        Column("Rank"),
        Column(f"Validation {task.metric}", hint="mean ± standard deviation over seeds; this column chooses"),
        Column("Test", hint="mean ± standard deviation over seeds; read once, chooses nothing"),
        Column("Against best", hint="mean paired difference and its interval; separable where that leaves out zero"),
        Column("To target", hint="median steps until the target value was reached, and how many seeds reached it"),
        Column("Gradients", hint="gradient evaluations a run"),
        Column("CPU", hint="processor time a run; below it the wall-clock time"),
        Column("Lost runs", hint="runs that diverged, failed, or are not finished"),
    ]
    board = {str(row.get("label")): row for row in records.board(task)}
    rows = []
    for place, strategy in enumerate(ranked(records, task), start=1):
        row, runs = board.get(strategy.label, {}), records.of(task, strategy)
        n = len(final_values(records, task, strategy))
        rank = number(row.get("rank")) or (float(place) if n else None)
        (mean, sd), (test, test_sd) = (_values(row, split, task, runs) for split in ("validation", "test"))
        gradients = _mean(row, "gradient_evaluations", runs)
        wall, cpu = _mean(row, "seconds", runs), _mean(row, "cpu_seconds", runs)
        rows.append(
            [
                Cell(named(strategy), strategy.label.lower()),
                Cell(count(rank), rank),
                Cell(spread(mean, sd), mean, f"n = {n}"),
                Cell(spread(test, test_sd), test),
                _difference(row, first=rank == 1),
                _target(row, runs),
                Cell(count(gradients), gradients),
                Cell(duration(cpu), cpu, f"{duration(wall)} wall"),
                _ended(runs, row),
            ]
        )
    if len(records.strategies) == 1:
        keep = [place for place, column in enumerate(columns) if column.title not in ("Rank", "Against best")]
        columns, rows = [columns[place] for place in keep], [[row[place] for place in keep] for row in rows]
    return table(name, f"Leaderboard on {task.name}, {plural(len(records.seeds), 'seed')}", columns, rows)


def overview(records: Records) -> Html | None:
    """Mean validation value and rank of every strategy on every task; only where there are several tasks."""
    if len(records.tasks) < 2 or len(records.strategies) < 2:
        return None
    columns = [Column("Strategy", numeric=False), *(Column(task.name, hint=task.metric) for task in records.tasks)]
    means: dict[str, list[Cell]] = {strategy.label: [] for strategy in records.strategies}
    ranks: dict[str, list[float]] = {strategy.label: [] for strategy in records.strategies}
    for task in records.tasks:
        board = {str(row.get("label")): row for row in records.board(task)}
        for place, strategy in enumerate(ranked(records, task), start=1):
            row = board.get(strategy.label, {})
            mean, sd = _values(row, "validation", task, records.of(task, strategy))
            rank = number(row.get("rank")) or (float(place) if mean is not None else None)
            means[strategy.label].append(Cell(spread(mean, sd), mean, f"rank {rank:.0f}" if rank else "no result"))
            ranks[strategy.label] += [rank] if rank else []
    columns.append(Column("Mean rank", hint="over all tasks; none where a task has no result"))
    rows = []
    for strategy in records.strategies:
        own = ranks[strategy.label]
        mean_rank = sum(own) / len(own) if len(own) == len(records.tasks) else None
        last = Cell(figure(mean_rank, 3), mean_rank)
        rows.append([Cell(named(strategy), strategy.label.lower()), *means[strategy.label], last])
    return table(
        "overview", "All tasks: mean validation value ± standard deviation over seeds, and rank", columns, rows
    )


def clipping(facts: Sequence[ClipFacts], task: Task, name: str) -> Html:
    """Share of steps that were clipped and skipped, and the norms before clipping."""
    columns = [
        Column("Strategy", numeric=False),
        Column("Clipped", hint="share of steps whose gradient was scaled down"),
        Column("Skipped", hint="steps left out because the gradient norm was not finite"),
        Column("Median norm", hint="before clipping"),
        Column("90th percentile", hint="before clipping; a usual place for a threshold"),
        Column("Largest norm", hint="before clipping"),
    ]
    rows = [
        [
            Cell(brief(fact.strategy), fact.strategy.label.lower()),
            Cell(DASH if fact.clipped_share is None else f"{100 * fact.clipped_share:.1f} %", fact.clipped_share),
            Cell(str(fact.skipped), float(fact.skipped), f"of {fact.steps} steps"),
            Cell(figure(fact.median, 3), fact.median),
            Cell(figure(fact.ninetieth, 3), fact.ninetieth),
            Cell(figure(fact.largest, 3), fact.largest),
        ]
        for fact in facts
    ]
    return table(name, f"Gradient clipping on {task.name}, all seeds together", columns, rows)


def lost_runs(records: Records) -> Html | None:
    """Every run that diverged, failed, was stopped, is unfinished or missing; None when all finished."""
    lost = [run for run in records.runs if run.status != "finished"]
    if not lost:
        return None
    columns = [
        Column("Strategy", numeric=False),
        Column("Task", numeric=False),
        Column("Seed"),
        Column("State", numeric=False),
        Column("Step"),
        Column("Message", numeric=False),
    ]
    rows = [
        [
            Cell(brief(run.strategy), run.strategy.label.lower()),
            Cell(run.task, run.task),
            Cell(str(run.seed), float(run.seed)),
            Cell(run.status, run.status),
            Cell(str(run.last_step), float(run.last_step)),
            Cell(str(run.result.get("message") or ""), str(run.result.get("message") or "")),
        ]
        for run in lost
    ]
    return table("lost-runs", "Runs that did not finish", columns, rows)
