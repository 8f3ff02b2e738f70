"""CMA-ES: a normal distribution that learns where to look and along which directions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from cmaes import CMA, get_warm_start_mgd

from steepest.tune.box import Box
from steepest.tune.sampler import Proposal, told
from steepest.tune.samplers.evolution import Evolution
from steepest.tune.samplers.quasi import Sobol
from steepest.tune.trial import Trial

WIDTH = 0.15
"""Standard deviation at the beginning, as a share of every range."""
START = 10
"""Evenly spread points of which the best is where it begins."""


@dataclass(frozen=True)
class Covariance:
    """Covariance matrix adaptation on the places in [0, 1] of all dimensions: Hansen's strategy, by package ``cmaes``.

    It is made anew for each question and told every generation that is complete, so it needs no state but the trials.
    Ten trials come first, points of a Sobol sequence where there are no others, and it begins at the best of them: six
    points a generation find no valley by themselves in 30 trials. From 100 trials of another sampler on, mean and
    covariance begin as those of the best tenth (arXiv:2012.06932).

    A choice is a range with a step for each value, as whole numbers are. For one dimension, differential evolution.

    Source: Hansen & Ostermeier 2001; Hansen, arXiv:1604.00772.

    Args:
        study: The study's seed.
        warm: From so many trials of another sampler on, all of them say how to begin.
    """

    study: int = 0
    warm: int = 100

    def ask(self, box: Box, trials: Sequence[Trial], seed: int) -> Proposal:
        if len(box) < 2:
            return Evolution(self.study).ask(box, trials, seed)
        values = told(trials)
        own = [t for t in trials if "generation" in t.notes]
        if not own and len(values) < START:
            return Sobol(self.study).ask(box, trials, seed)
        begin = own[0].notes["begin"] if own else _begin(box, trials, values, self.warm)
        model = CMA(
            numpy.array(begin["mean"]), begin["sigma"], numpy.array([[0.0, 1.0]] * len(box)), seed=seed,
            cov=numpy.array(begin["cov"]) if begin.get("cov") else None,
        )  # fmt: skip
        size, generation = model.population_size, 0
        while len(ready := _ended(own, values, generation)) >= size:
            model.tell([(numpy.array(t.notes["place"]), values[t.number]) for t in ready[:size]])
            generation += 1
        place = [float(u) for u in model.ask()]
        notes: dict[str, Any] = {"generation": generation, "place": place}
        if not own:
            notes["begin"] = begin
        return Proposal(box.point(dict(zip(box.dimensions, place, strict=True))), notes)


def _ended(own: Sequence[Trial], values: Mapping[int, float], generation: int) -> list[Trial]:
    return [t for t in own if t.notes["generation"] == generation and t.number in values]


def _begin(box: Box, trials: Sequence[Trial], values: Mapping[int, float], warm: int) -> dict[str, Any]:
    """Where the distribution starts, as plain data."""
    ended = [t for t in trials if t.number in values and t.point is not None and t.status != "diverged"]
    places = [numpy.array([*box.places(t.point or {}).values()]) for t in ended]
    if len(ended) >= warm:
        mean, sigma, cov = get_warm_start_mgd([(p, values[t.number]) for p, t in zip(places, ended, strict=True)])
        return {"mean": _inner(mean), "sigma": float(sigma), "cov": cov.tolist()}
    if ended:
        best = min(range(len(ended)), key=lambda i: (values[ended[i].number], i))
        return {"mean": _inner(places[best]), "sigma": WIDTH}
    return {"mean": [0.5] * len(box), "sigma": WIDTH}


def _inner(mean: Any) -> list[float]:
    """A mean on the very edge would leave no room to look on both sides of it."""
    return [min(max(float(m), 0.05), 0.95) if math.isfinite(m) else 0.5 for m in mean]
