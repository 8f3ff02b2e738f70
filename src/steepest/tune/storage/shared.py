"""Legs in any storage of optuna: a journal file, sqlite, a database, a proxy. Optuna's own tools open it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from steepest.strategy.dimension import Choice, Dimension
from steepest.strategy.space import Point
from steepest.tune.box import Box
from steepest.tune.leg import Leg, Status
from steepest.tune.samplers.guest import distribution, inside, quiet

FIXED = ("trial", "seed", "steps", "length", "source", "attempt", "owner")
STATES: dict[Status, TrialState] = {
    "open": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "paused": TrialState.PRUNED,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
    "lost": TrialState.FAIL,
    "withdrawn": TrialState.FAIL,
}
ENDINGS: tuple[Status, ...] = ("finished", "paused", "stopped", "diverged", "failed", "withdrawn", "lost")
"""The order in which endings are believed where two owners have noted one: who finished before who was given up."""


class Shared:
    """A store in one study of an optuna storage. A leg is a trial there, and its state is what decides.

    Args:
        storage: Of optuna.
        name: Of the study; made if it is not there.
        box: What is searched.
        signs: 1 for each value that is small where it is good, -1 for one that tools should show as it was: larger is
            better.
        about: What the study says of itself.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        box: Box,
        signs: Sequence[int] = (1,),
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.box, self.signs, self._storage = box, tuple(signs), storage
        self._ended: dict[int, Leg] = {}
        ways = [StudyDirection.MINIMIZE if sign > 0 else StudyDirection.MAXIMIZE for sign in signs]
        with quiet():
            study = optuna.create_study(storage=storage, study_name=name, directions=ways, load_if_exists=True)
        self._study: int = study._study_id
        said = storage.get_study_user_attrs(self._study)
        for key, value in (about or {}).items():
            if said.get(key) != value:
                storage.set_study_user_attr(self._study, key, value)

    def legs(self) -> list[Leg]:
        found = []
        for trial in self._storage.get_all_trials(self._study, deepcopy=False):
            leg = self._ended.get(trial.number) or self._leg(trial)
            if trial.state.is_finished():  # nothing of it can change any more
                self._ended[trial.number] = leg
            found.append(leg)
        return found

    def add(self, leg: Leg) -> int:
        fixed = {name: getattr(leg, name) for name in FIXED}
        attrs = {"leg": fixed, "until": leg.until, "charge": leg.charge, "notes": dict(leg.notes)}
        if leg.point is not None:
            attrs["point"] = self._packed(leg.point)
        template = create_trial(
            state=TrialState.RUNNING,
            user_attrs=attrs,
            params={_name(n, self.box.dimensions[n]): v for n, v in self._shown(leg.point or {}).items()},
            distributions={_name(n, d): _shown(d) for n, d in self.box.dimensions.items() if n in (leg.point or {})},
        )
        made = self._storage.create_new_trial(self._study, template_trial=template)
        return self._storage.get_trial_number_from_id(made)

    def place(self, number: int, point: Point, notes: Mapping[str, Any]) -> None:
        where = self._id(number)
        try:
            known = self._storage.get_trial(where).user_attrs["notes"]
            self._storage.set_trial_user_attr(where, "notes", {**known, **notes})
            for name, value in self._shown(point).items():
                of = _shown(self.box.dimensions[name])
                self._storage.set_trial_param(
                    where, _name(name, self.box.dimensions[name]), of.to_internal_repr(value), of
                )
            self._storage.set_trial_user_attr(where, "point", self._packed(point))  # last: with it the leg is placed
        except UpdateFinishedTrialError:
            return  # its owner was taken for dead

    def renew(self, number: int, until: float) -> bool:
        try:
            self._storage.set_trial_user_attr(self._id(number), "until", until)
        except UpdateFinishedTrialError:
            return False
        return True

    def close(self, number: int, status: Status, **fields: Any) -> bool:
        where, values = self._id(number), fields.pop("values", None)
        try:
            self._storage.set_trial_user_attr(where, f"end: {status}", {**fields, "values": values})
            shown = None if values is None else [s * v for s, v in zip(self.signs, values, strict=True)]
            if shown is not None and fields.get("reached") is not None:
                self._storage.set_trial_intermediate_value(where, int(fields["reached"]), shown[0])
            complete = status == "finished"
            self._storage.set_trial_state_values(where, STATES[status], shown if complete else None)
        except UpdateFinishedTrialError:
            return False
        return True

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study, number)

    def _leg(self, trial: FrozenTrial) -> Leg:
        attrs = trial.user_attrs
        of = dict(attrs["leg"])
        status: Status = "open"
        end: dict[str, Any] = {}
        if trial.state.is_finished():
            noted = [s for s in ENDINGS if STATES[s] == trial.state and f"end: {s}" in attrs]
            status = noted[0] if noted else "failed"
            end = dict(attrs.get(f"end: {status}", {}))
            end["values"] = None if end.get("values") is None else tuple(end["values"])
        packed = attrs.get("point")
        return Leg(
            **{
                **of,
                "number": trial.number,
                "trial": trial.number if of["trial"] < 0 else of["trial"],
                "point": None if packed is None else self._unpacked(packed),
                "until": attrs["until"],
                "charge": attrs["charge"],
                "notes": attrs["notes"],
                "status": status,
                **end,
            }
        )

    def _packed(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A point as JSON can hold it: choices by their place."""
        dimensions = self.box.dimensions
        return {n: inside(dimensions[n], v) if isinstance(dimensions[n], Choice) else v for n, v in point.items()}

    def _unpacked(self, packed: Mapping[str, Any]) -> Point:
        found: Point = {}
        for name, value in packed.items():
            dimension = self.box.dimensions[name]
            found[name] = dimension.values[value] if isinstance(dimension, Choice) else value
        return found

    def _shown(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A point as tools show it."""
        made = {}
        for name, value in point.items():
            dimension = self.box.dimensions[name]
            made[name] = _label(value) if isinstance(dimension, Choice) else inside(dimension, value)
        return made


def _name(name: str, dimension: Dimension) -> str:
    """What tools call a dimension.

    >>> from steepest.strategy.dimension import near_one
    >>> _name("sgd.momentum", near_one(0.5, 0.99))
    '1 - sgd.momentum'
    """
    return f"1 - {name}" if getattr(dimension, "scale", "") == "near_one" else name


def _label(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _shown(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(tuple(map(_label, dimension.values)))
    return distribution(dimension)
