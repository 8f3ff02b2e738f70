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
LEARNT = 0.9
"""Or it had fallen below this share before it leapt, and never came back. Source: ours."""
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
    if not len(loss):
        return None
    back = late(run, run.loss).mean() < BACK * start
    torn = largest_updates(run, SOON / 2)
    top = int(loss.values.argmax())
    peak, when, best = float(loss.values[top]), int(loss.steps[top]), float(loss.values[: top + 1].min())
    if not back and not best < LEARNT * start:
        return None
    if not peak > LEAP * start:
        if not back or not torn > TORN:
            return None
        said = (
            f"an early update was {figure(torn)} of the weights it changed, "
            "in half of the tensors, and nothing warms up"
        )
        steps = (0, int(SOON / 2 * run.taken))
        return Finding("no_warmup", "suspicion", "costly", said, steps, {"ratio": torn, "bound": TORN}, SOURCE, test)
    said = f"the loss leapt from {figure(start)} to {figure(peak)} in the first {when} steps before it fell"
    if not back:
        said = f"the loss had fallen from {figure(start)} to {figure(best)}, leapt to {figure(peak)} by step {when}"
        said += " and never came back"
    return Finding(
        "no_warmup",
        "suspicion",
        "costly" if back else "broken",
        f"{said}, and nothing warms up",
        (0, when),
        {"start": start, "peak": peak, "times": peak / start, "bound": LEAP},
        SOURCE,
        test,
    )
