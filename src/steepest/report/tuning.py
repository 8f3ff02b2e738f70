"""How a tuned comparison was made and scored: the suite's table, and where each arm's budget went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steepest.report.data import Records, Strategy, Task, mapping, number
from steepest.report.html import Child, Html, element
from steepest.report.tables import Cell, Column, brief, table
from steepest.report.words import count, duration, figure, plural


def scores(records: Records) -> Html | None:
    """Score, speed, first places and how the place moves when a task is left out; None for a single task."""
    suite = mapping(mapping(mapping(records.summary).get("overall")).get("suite"))
    found = mapping(suite.get("score"))
    if not found:
        return None
    speed = mapping(suite.get("speed"))
    against = next((s for s in records.strategies if s.label == speed.get("against")), None)
    without = mapping(suite.get("leave_one_out"))
    times = mapping(suite.get("times"))
    columns = [
        Column("Strategy", numeric=False),
        Column("Score", hint="area under the performance profile up to 4 times the fastest, as in AlgoPerf"),
        Column("Targets", hint="tasks on which the median run reaches the target"),
        Column("Speed", hint="geometric mean of steps to target against the best score; 2 is twice as fast"),
        Column("First", hint="tasks on which it ends best"),
        Column("Place, a task left out", hint="best and worst place by mean rank when any one task is left out"),
    ]  # fmt: skip
    rows = []
    for strategy in records.strategies:
        places = [int(p) for left in without.values() if (p := number(mapping(left).get(strategy.label))) is not None]
        reached = [t for t in mapping(times.get(strategy.label)).values() if t is not None]
        faster = number(mapping(speed.get("of")).get(strategy.label))
        wins = number(mapping(suite.get("wins")).get(strategy.label))
        moved = (
            "" if not places else f"{min(places)}" if min(places) == max(places) else f"{min(places)} to {max(places)}"
        )
        rows.append(
            [
                Cell(brief(strategy), strategy.label.lower()),
                Cell(figure(number(found.get(strategy.label)), 3), number(found.get(strategy.label))),
                Cell(f"{len(reached)} of {len(records.tasks)}", float(len(reached))),
                Cell("1" if strategy == against else figure(faster, 3), faster),
                Cell(count(wins), wins),
                Cell(moved, float(min(places)) if places else None),
            ]
        )
    return table("suite-scores", f"Scores over {plural(len(records.tasks), 'task')}", columns, rows)


def budgets(records: Records) -> Child:
    """For each task: what every search was given, took and chose; None where nothing was tuned."""
    found = [[element("h3", task.name), t] for task in records.tasks if (t := _budget(records, task)) is not None]
    if not found:
        return None
    words = (
        "Every strategy had the same number of trials and of gradients on a task; trials that diverged or failed are "
        "charged. Half of them cover the space, a quarter goes on beyond any end that the best point is near to, and a "
        "quarter repeats the best settings on a second seed. Trials never read the test split, and no final run has "
        "the seed of a trial. “Chosen at” is what the choice rests on; on fresh seeds it is usually worse."
    )
    return [element("p", words, class_="facts"), *found]


def _budget(records: Records, task: Task) -> Html | None:
    tuning = mapping(mapping(mapping(mapping(records.summary).get("tasks")).get(task.name)).get("tuning"))
    if not tuning:
        return None
    board = {str(row.get("label")): row for row in records.board(task)}
    columns = [
        Column("Strategy", numeric=False),
        Column("Trials", hint="charged, of those allowed"),
        Column("Lost", hint="trials that diverged or failed"),
        Column("Gradients", hint="used in the search; below it the budget"),
        Column("Time", hint="training time of the search"),
        Column("Chosen at", hint="validation value in the search"),
        Column("Fresh seeds", hint="mean validation value of the final runs"),
        Column("Test gap", hint="how much worse the test split is than validation"),
    ]
    rows = []
    for strategy in records.strategies:
        search = mapping(tuning.get(strategy.label))
        rows.append(
            [Cell(_setting(strategy, search), strategy.label.lower()), *_cells(search, board.get(strategy.label, {}))]
        )
    return table(f"budget-{records.tasks.index(task)}", f"Budget and choice on {task.name}", columns, rows)


def _cells(search: Mapping[str, Any], row: Mapping[str, Any]) -> list[Cell]:
    charged, allowed = number(search.get("charged")), number(search.get("allowed"))
    lost = (number(search.get("diverged")) or 0) + (number(search.get("failed")) or 0)
    gradients = number(search.get("gradient_evaluations"))
    value, fresh = number(search.get("selected_at")), number(mapping(row.get("validation")).get("mean"))
    gap = number(row.get("gap"))
    return [
        Cell(f"{count(charged)} of {count(allowed)}" if search else "0", charged or 0.0),
        Cell(count(lost) if search else "", lost),
        Cell(count(gradients), gradients, f"of {count(number(search.get('gradient_budget')))}" if search else None),
        Cell(duration(number(search.get("seconds"))) if search else "", number(search.get("seconds"))),
        Cell(figure(value, 4), value),
        Cell(figure(fresh, 4), fresh),
        Cell("" if gap is None else f"{gap:+.3g}", gap),
    ]


def _setting(strategy: Strategy, search: Mapping[str, Any]) -> Html:
    """The arm, the setting that it chose, and which ends of its ranges moved or should."""
    lines: list[Child] = []
    if search.get("strategy"):
        lines.append(element("code", str(search["strategy"])))
    for words, name in (("longer", "extended"), ("still near an end", "near_edges")):
        if isinstance(search.get(name), list) and search[name]:
            lines.append(element("code", f"{words}: {'; '.join(map(str, search[name]))}"))
    return brief(strategy, *lines)
