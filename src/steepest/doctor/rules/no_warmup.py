"""A start that was too fast: the loss leaps up, and time goes into coming back."""

from __future__ import annotations

from steepest.doctor.change import warmed
from steepest.doctor.evidence import Evidence
from steepest.doctor.finding import Finding, Try
from steepest.doctor.looking import BY_EPOCH, beginning, early, figure, largest_updates, late

SOURCE = "Goyal et al. 2017, arXiv:1706.02677; Kalra and Barkeshli 2024, arXiv:2406.09405; thresholds ours"
LEAP = 1.25
"""The loss rose to so many times what it was before training. Source: ours."""
SOON = 0.2
"""In this first share of the steps. Source: ours."""
BACK = 0.8
"""And at the end it is below this share of what it was. Source: ours."""
TORN = 0.1
"""Norm of an update over its weights, in half of the tensors, at an early step. Source: torchmortem, for one."""
LENGTH = 0.1
"""The warm-up to try, as a share of the run. Source: tuning playbook, at most 10 %."""


def look(run: Evidence) -> Finding | None:
    """Only where nothing warms up yet."""
    schedules = run.strategy.role("schedule") if run.strategy else ()
    if run.strategy is None or any("warmup" in str(p) or p.name in ("one_cycle", "noam_decay") for p in schedules):
        return None
    other = warmed(run.strategy, LENGTH)
    test = Try(f"a warm-up over {100 * LENGTH:g} % of the steps", str(other) if other else None, early=True)
    start, loss = beginning(run), early(run, run.loss.finite, SOON).smooth(BY_EPOCH)
    end = late(run, run.loss).mean()
    if not len(loss) or not end < BACK * start:
        return None
    torn = largest_updates(run, SOON / 2)
    peak, when = float(loss.values.max()), int(loss.steps[int(loss.values.argmax())])
    if not peak > LEAP * start:
        if not torn > TORN:
            return None
        said = (
            f"an early update was {figure(torn)} of the weights it changed, "
            "in half of the tensors, and nothing warms up"
        )
        steps = (0, int(SOON / 2 * run.taken))
        return Finding("no_warmup", "suspicion", "costly", said, steps, {"ratio": torn, "bound": TORN}, SOURCE, test)
    return Finding(
        "no_warmup",
        "suspicion",
        "costly",
        (
            f"the loss leapt from {figure(start)} to {figure(peak)} in the first "
            f"{when} steps before it fell, and nothing warms up"
        ),
        (0, when),
        {"start": start, "peak": peak, "times": peak / start, "bound": LEAP},
        SOURCE,
        test,
    )
