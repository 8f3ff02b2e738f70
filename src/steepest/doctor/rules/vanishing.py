"""Gradients that fade on the way to the first layers."""

from __future__ import annotations

import math

from steepest.doctor.change import scaled
from steepest.doctor.evidence import Evidence
from steepest.doctor.finding import Finding, Try
from steepest.doctor.looking import early, figure, is_weight, span, unknown

SOURCE = "Glorot and Bengio 2010; thresholds: torchmortem (spread), SageMaker Debugger (size)"
SPREAD = 100.0
"""Norm of the last layers' gradients over the first layer's. Source: torchmortem."""
TINY = 1e-7
"""Root mean square of a whole gradient that is as good as none. Source: SageMaker Debugger, VanishingGradient."""


def look(run: Evidence) -> Finding | None:
    """Of weight tensors where a monitor measured each, else of the whole gradient."""
    norm = early(run, run.grad_norm.finite)
    whole = norm.median() / math.sqrt(run.parameters) if run.parameters else math.nan
    weights = {name: series for name, series in run.layer_gradient.items() if is_weight(name)}
    medians = {name: m for name, series in weights.items() if (m := early(run, series).median()) > 0}
    other = scaled(run.strategy, "lr", 3) if run.strategy else None
    words = "normalise between the layers, or join them by residual connections; activations that saturate less"
    test = Try(words, str(other) if other else None, early=True)
    if len(medians) >= 3:
        names = list(medians)
        first, rest = medians[names[0]], max(medians[name] for name in names[1:])
        if rest / first > SPREAD:
            return Finding(
                "vanishing",
                "fact",
                "broken",
                (
                    f"the gradient of {names[0]} is {rest / first:.0f} times smaller "
                    "than the largest of the layers behind it"
                ),
                span(early(run, weights[names[0]])),
                {"ratio": rest / first, "bound": SPREAD, "first": first},
                SOURCE,
                test,
            )
    if whole < TINY and run.taken:
        said = f"the gradient is as good as zero: its root mean square was {figure(whole)}"
        return Finding("vanishing", "fact", "broken", said, span(norm), {"rms": whole, "bound": TINY}, SOURCE, test)
    return None if run.layer_gradient else unknown("vanishing", "gradient norms of single layers were")
