"""Layers that do not move while others do."""

from __future__ import annotations

from steepest.doctor.evidence import Evidence
from steepest.doctor.finding import Finding, Try
from steepest.doctor.looking import late, span, unknown

SOURCE = "torchmortem (distance from the start)"
STILL = 1e-4
"""Distance from the start over the norm at the start. Source: torchmortem."""


def look(run: Evidence) -> Finding | None:
    """Tensors that never got a gradient, and those that did not move while others did; but for those at rate 0."""
    if not run.distance and not run.update_ratio:
        return unknown("frozen", "movements of single tensors were")
    still = list(run.without_gradient)
    still += [n for n, series in run.distance.items() if n not in still and late(run, series).median() < STILL]
    still += [
        name
        for name, s in run.update_ratio.items()
        if name not in still and len(s.finite) and s.finite.values.max() == 0
    ]
    still = [name for name in still if name not in run.held]
    moved = len({*run.distance, *run.update_ratio} - {*still, *run.held})
    if not still or not moved:
        return None
    names = ", ".join(still[:3]) + (f" and {len(still) - 3} more" if len(still) > 3 else "")
    never = len(run.without_gradient)
    why = f" ({never} never got a gradient)" if never else ""
    series = next((found[still[0]] for found in (run.distance, run.update_ratio) if still[0] in found), run.loss)
    return Finding(
        "frozen",
        "fact",
        "costly",
        f"{names} did not move{why}, while {moved} other tensors did",
        span(series),
        {"still": len(still), "without gradient": never, "moved": moved, "bound": STILL},
        SOURCE,
        Try(
            "look for a detach or no_grad on the way, or a layer that is not used; "
            "what is frozen on purpose gets requires_grad=False or lr=0"
        ),
    )
