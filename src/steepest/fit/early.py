"""What a run says of its early stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steepest.fit.training import Training


def ended(run: Training) -> dict[str, Any] | None:
    """The entry ``early_stopping`` of ``result.json``; None where the strategy has no such piece.

    ``best_step``: of the best evaluation that it heard of; ``spared``: steps that were not taken; ``restored``: whether
    the weights, and the validation values, are those of the best evaluation.
    """
    ending, task, state = run.ending, run.plan.task, run.state
    if ending is None:
        return None
    return {
        "best_step": ending.best_at * task.eval_interval or None,
        "spared": task.steps - state.step if run.over else 0,
        "restored": state.kept is not None and run.validation is state.kept.validation,
    }


def words(run: Training) -> str:
    """Why it ended before its length was over; empty where it did not."""
    ending, task, state = run.ending, run.plan.task, run.state
    if ending is None or not run.over or state.step >= task.steps:
        return ""
    what = task.metric if ending.watches == "metric" else "loss"
    best = f"was best at step {ending.best_at * task.eval_interval}" if ending.best_at else "was never a number"
    return f"ended early at step {state.step} of {task.steps}: validation {what} {best}"
