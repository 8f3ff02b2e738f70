"""Who stands where: final values by seed, and strategies from best to worst."""

from __future__ import annotations

from steepest.report.data import Records, Strategy, Task
from steepest.report.words import mean_sd


def ranked(records: Records, task: Task) -> list[Strategy]:
    """Strategies from best to worst: by the recorded leaderboard, else by mean; those without a value last."""
    board = {str(row.get("label")): place for place, row in enumerate(records.board(task))}
    sign = 1.0 if task.goal == "min" else -1.0

    def key(strategy: Strategy) -> tuple[float, float, int]:
        values = list(final_values(records, task, strategy).values())
        mean, _ = mean_sd(values)
        return (board.get(strategy.label, float("inf")), float("inf") if mean is None else sign * mean, strategy.index)

    return sorted(records.strategies, key=key)


def final_values(records: Records, task: Task, strategy: Strategy) -> dict[int, float]:
    """Final validation value of the task's metric by seed, for the runs that have one."""
    runs = records.of(task, strategy)
    return {run.seed: value for run in runs if (value := run.final(task.metric)) is not None}
