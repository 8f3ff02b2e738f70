"""The global gradient norm before and after clipping, and how often clipping acted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steepest.report.curves import Array, Curve, smooth, window
from steepest.report.data import Records, Run, Strategy, Task, number
from steepest.report.figures.base import Figure
from steepest.report.figures.learning import smoothed
from steepest.report.figures.over_steps import over_steps


def clipped(run: Run) -> Array:
    """1 where the step was clipped, 0 where it was not, NaN where nothing says so."""
    factor = run.train.get("clip_factor", np.zeros(0))
    return np.where(np.isfinite(factor), (factor < 1 - 1e-6).astype(float), np.nan)


def after(run: Run) -> Curve:
    """Norm after clipping: norm before times the clip factor; empty where no factor was recorded."""
    if "clip_factor" not in run.train or "grad_norm" not in run.train:
        return Curve(np.zeros(0), np.zeros(0))
    values = run.train["grad_norm"] * run.train["clip_factor"]
    return Curve(run.train["step"], smooth(values, window(len(values))))


def share_over_time(run: Run) -> Curve:
    """Share of clipped steps in a window of a tenth of the run."""
    acted = clipped(run)
    if not len(acted):
        return Curve(np.zeros(0), np.zeros(0))
    share, half = smooth(acted, width := window(len(acted), 0.1)), width // 2
    share[:half], share[len(share) - half :] = share[half], share[len(share) - half - 1]  # whole windows only
    return Curve(run.train["step"], share)


@dataclass(frozen=True)
class ClipFacts:
    """What clipping did to one strategy on one task, over all its seeds."""

    strategy: Strategy
    recorded: bool
    clipped_share: float | None
    skipped: int
    steps: int
    median: float | None
    ninetieth: float | None
    largest: float | None


def clip_facts(records: Records, task: Task, strategy: Strategy) -> ClipFacts:
    """Share of clipped steps, number of skipped steps, and the distribution of the norm before clipping."""
    runs = records.of(task, strategy)
    norms = np.concatenate([run.train.get("grad_norm", np.zeros(0)) for run in runs] or [np.zeros(0)])
    acted = np.concatenate([clipped(run) for run in runs] or [np.zeros(0)])
    norms, acted = norms[np.isfinite(norms)], acted[np.isfinite(acted)]
    return ClipFacts(
        strategy,
        recorded=bool(len(acted)),
        clipped_share=float(acted.mean()) if len(acted) else None,
        skipped=sum(int(number(run.result.get("skipped_steps")) or 0) for run in runs),
        steps=sum(int(number(run.result.get("steps")) or run.last_step) for run in runs),
        median=float(np.median(norms)) if len(norms) else None,
        ninetieth=float(np.quantile(norms, 0.9)) if len(norms) else None,
        largest=float(norms.max()) if len(norms) else None,
    )


def gradient_figures(records: Records, task: Task, points: int) -> list[Figure]:
    """Norm before clipping; norm after it and the share of clipped steps where clipping ever acted."""
    before = over_steps(
        records,
        task,
        lambda run: smoothed(run, "grad_norm"),
        title="Gradient norm before clipping",
        y="norm",
        caption="Euclidean norm of the whole gradient, smoothed like the training loss.",
        points=points,
    )
    figures = [before]
    if any(np.nansum(clipped(run)) > 0 for run in records.of(task)):
        caption = "Norm times clip factor, smoothed likewise."
        if any("clip_factor" not in run.train and "grad_norm" in run.train for run in records.of(task)):
            caption += " Strategies that do not clip by norm are not drawn."
        figures.append(
            over_steps(
                records, task, after, title="Gradient norm after clipping", y="norm", caption=caption, points=points
            )
        )
        figures.append(
            over_steps(
                records,
                task,
                share_over_time,
                title="Share of steps clipped",
                y="share",
                caption="In a window of a tenth of the run.",
                points=points,
                log=False,
                percent=True,
            )
        )
    return [figure for figure in figures if figure]
