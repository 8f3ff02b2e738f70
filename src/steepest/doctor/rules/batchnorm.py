"""Batch normalisation whose running statistics are not those of the batches."""

from __future__ import annotations

from steepest.doctor.change import plus
from steepest.doctor.evidence import Evidence
from steepest.doctor.finding import Finding, Try
from steepest.doctor.looking import beginning, figure, late, span, unknown

SOURCE = "Wu and Johnson 2021, arXiv:2105.07576 (precise statistics); thresholds ours"
GAP = 0.1
"""Loss of one batch in evaluation mode above that in training mode, as a share of it. Source: ours."""
FLOOR = 0.01
"""And above it by this share of the loss before training: twice next to nothing is nothing. Source: ours."""
DRIFT = 0.7
"""Log ratio of the variances, or deviations of the mean: a factor of two. Source: ours."""


def look(run: Evidence) -> Finding | None:
    """On the second half of the run: at first the statistics cannot but lag."""
    drifts = {name: late(run, series, 0.5).median() for name, series in run.drift.items()}
    gaps = late(run, run.gap, 0.5)
    ratio = gaps.median() - 1
    apart = ratio * late(run, run.loss, 0.5).median() / beginning(run)
    far = {name: drift for name, drift in drifts.items() if drift > DRIFT}
    if not run.monitored:
        return unknown("batchnorm", "statistics of batch normalisation were")
    worse = ratio > GAP and not apart < FLOOR  # unknown where no loss was logged
    if not far and not worse:
        return None
    other = plus(run.strategy, "ema(decay=0.9)") if run.strategy else None
    name = max(drifts, key=lambda n: drifts[n]) if drifts else ""
    said = f"batch norm evaluates with statistics that are not the batches' ({len(far)} of {len(drifts)} layers drift"
    said += f", most {name}: {figure(drifts[name])})" if drifts else ")"
    said += f"; the same batch has {100 * ratio:+.0f} % loss in evaluation mode" if ratio == ratio else ""
    return Finding(
        "batchnorm",
        "fact",
        "broken" if worse and ratio > 1 else "costly",
        said,
        span(gaps) or (span(late(run, run.drift[name], 0.5)) if name else None),
        {
            "gap": ratio,
            "apart": apart,
            "drift": max(drifts.values(), default=float("nan")),
            "gap bound": GAP,
            "apart bound": FLOOR,
            "drift bound": DRIFT,
        },
        SOURCE,
        Try(
            (
                "a larger momentum of the layers (0.1), larger batches, or statistics "
                "re-estimated before evaluation, as averaging does"
            ),
            str(other) if other else None,
        ),
    )
