"""``trials.json``: a study as plain data, for reports: what is searched, every leg, the choices, what mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from steepest.compare.scoring import trial_folder
from steepest.core.records import SCHEMA, plain
from steepest.strategy.dimension import Dimension, Range
from steepest.tune.arms import Arm
from steepest.tune.box import Box
from steepest.tune.extension import extended, own, words
from steepest.tune.leg import Leg
from steepest.tune.result import front_rows
from steepest.tune.runs import paused
from steepest.tune.share import Share
from steepest.tune.study import Study
from steepest.tune.trial import Trial

TRIALS = "trials.json"
ENOUGH = 8
"""Trials below which nothing is said of what mattered."""


def ledger(study: Study, weighed: Mapping[str, Mapping[str, float]] | None = None) -> dict[str, Any]:
    """Everything that a report of a study shows and that no run's own record holds.

    Args:
        study: The study.
        weighed: By arm, the importance of each dimension (:func:`importance`), once it is known.
    """
    task = study.ground.task
    return {
        "schema": SCHEMA,
        "kind": "trials",
        "task": task.name,
        "metric": task.metric,
        "goal": task.goal,
        "steps": task.steps,
        "share": _share(study.share),
        "against": study.against,
        "front": front_rows(study),
        "arms": [_arm(study, arm, (weighed or {}).get(arm.label)) for arm in study.arms],
    }


def _share(share: Share) -> dict[str, Any]:
    ends = {name: getattr(share, name) for name in ("explore", "race")}
    return {**{k: v if math.isfinite(v) else None for k, v in ends.items()}, "finals": share.finals}


def _arm(study: Study, arm: Arm, weighed: Mapping[str, float] | None) -> dict[str, Any]:
    search = study.searches[arm.label]
    legs = [leg for leg in search.store.legs() if leg.status != "withdrawn"]
    begun: dict[tuple[Any, ...], int] = {}
    for leg in legs:
        begun.setdefault(_work(leg), leg.number)
    box, sign, found = search.box_of(search.trials()), 1 if study.ground.task.goal == "min" else -1, study.choice(arm)
    return {
        **arm.record(),
        "given_label": arm.given_label,
        "first": arm.first,
        "extended": words(arm.space, box),
        "dimensions": {name: _dimension(dimension) for name, dimension in box.dimensions.items()},
        "legs": [_leg(study, arm, box, leg, begun[_work(leg)], sign) for leg in legs],
        "importance": None if weighed is None else dict(weighed),
        "chosen": None if found is None else {
            "trial": found.trial.number,
            "strategy": str(found.strategy),
            "value": sign * found.mean,
            "seeds": found.seeds,
            "first": sign * found.first,
            "luckiest": sign * found.luckiest,
            "near_edges": _near(arm, box, found.trial.point or {}),
        },
    }  # fmt: skip


def _near(arm: Arm, box: Box, point: Mapping[str, Any]) -> list[list[str]]:
    """Which ends of its ranges, as they are now, a point is near to."""
    return [[path, end] for path, end in extended(arm.space, box).near_edges(own(arm.space, point))]


def _leg(study: Study, arm: Arm, box: Box, leg: Leg, begun: int, sign: int) -> dict[str, Any]:
    place = trial_folder(study.folder, study.ground.task.name, arm.label, begun).relative_to(study.folder)
    value = leg.values[0] if leg.values and math.isfinite(leg.values[0]) else None
    return {
        "number": leg.number,
        "trial": leg.trial,
        "point": None if leg.point is None else {n: _shown(box.dimensions[n], v) for n, v in leg.point.items()},
        "seed": leg.seed,
        "steps": leg.steps,
        "attempt": leg.attempt,
        "status": leg.status,
        "value": None if value is None else sign * value,
        **({"cost": leg.values[1]} if leg.values is not None and len(leg.values) > 1 else {}),
        "reached": leg.reached,
        "charge": leg.charge,
        "seconds": leg.seconds,
        "message": leg.message,
        "folder": place.as_posix(),
    }


def _work(leg: Leg) -> tuple[Any, ...]:
    """The same for legs that one run in one folder does."""
    return (leg.trial,) if paused(leg) else (leg.trial, leg.seed, leg.steps, leg.length, leg.source)


def _dimension(dimension: Dimension) -> dict[str, Any]:
    if isinstance(dimension, Range):
        return {"low": dimension.low, "high": dimension.high, "scale": dimension.scale, "whole": dimension.whole}
    return {"values": [_shown(dimension, value) for value in dimension.values]}


def _shown(dimension: Dimension, value: Any) -> Any:
    """A value as plain data: of a choice its words."""
    return plain(value) if isinstance(dimension, Range) else str(value)


def importance(box: Box, trials: Sequence[Trial]) -> dict[str, float] | None:
    """The share of each dimension in how trials differ; None where there are too few of them.

    Functional ANOVA over a forest of trees (Hutter, Hoos & Leyton-Brown 2014), as optuna has it, of the *ranks* of the
    trials on the first seed at the full length, those that diverged or failed last of all: one loss of 1e5 would
    otherwise be all that there is to explain. Dimensions that are not there in every trial are left out. None too where
    scikit-learn, which grows the trees, is not installed.
    """
    import optuna

    from steepest.tune.samplers.guest import distribution, inside, quiet

    known = [(t, t.repeats().get(0, math.inf)) for t in trials if t.point is not None and 0 in t.repeats()]
    if len(known) < ENOUGH or len({value for _, value in known}) < 2:
        return None
    shared = [name for name in box.dimensions if all(name in (t.point or {}) for t, _ in known)]
    moved = [n for n in shared if len({repr((t.point or {})[n]) for t, _ in known}) > 1]
    if not moved:
        return None
    if len(moved) == 1:
        return {moved[0]: 1.0}
    try:
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=24, max_depth=12, seed=0)
    except ImportError:
        return None
    over = {n: distribution(box.dimensions[n]) for n in moved}
    with quiet():
        study = optuna.create_study()
        for (t, _), rank in zip(known, _ranks([value for _, value in known]), strict=True):
            at = {n: inside(box.dimensions[n], (t.point or {})[n]) for n in moved}
            study.add_trial(optuna.create_trial(params=at, distributions=over, value=float(rank)))
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=moved)
    return {n: float(found[n]) for n in moved}


def _ranks(values: Sequence[float]) -> list[float]:
    """Places from the smallest, 1, on; equal values share the mean of theirs.

    >>> _ranks([0.5, math.inf, 0.1, math.inf])
    [2.0, 3.5, 1.0, 3.5]
    """
    _, which, counts = numpy.unique(values, return_inverse=True, return_counts=True)
    return [float(x) for x in (numpy.cumsum(counts) - (counts - 1) / 2)[which]]
