"""The table: everything is in it once, under one meaning, and stands at the front."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import steepest.gradients
import steepest.rules
import steepest.schedules
from steepest.core.errors import UnknownName
from steepest.core.piece import Kind, piece
from steepest.strategy import Strategy, collect, front, lookup, names, pieces, table
from steepest.strategy.table import PLURALS

MIN = {"rule": 14, "schedule": 20, "gradient": 4, "groups": 1, "precision": 1, "recipe": 4}


def test_every_room_is_in_it() -> None:
    for role, least in MIN.items():
        assert len(names(role)) >= least, role  # type: ignore[arg-type]
    for room, role in ((steepest.rules, "rule"), (steepest.schedules, "schedule"), (steepest.gradients, "gradient")):
        assert set(collect(room)) <= set(names(role))  # type: ignore[arg-type]
    assert {kind.role for kind in table().values()} <= set(PLURALS)


def test_no_name_means_two_things() -> None:
    """The table is made without an error, and no piece hides a room or a verb of the package."""
    rooms = "core rules schedules gradients tasks strategy optim fit compare tune report testing cli fleet monitor"
    others = "multitask graph federated normalization parse inf nan Strategy Task"
    assert not {*rooms.split(), *others.split()} & set(table())
    assert all(name == kind.name == kind.function.__name__ and name.isidentifier() for name, kind in table().items())


def test_a_clash_is_an_error_that_names_both() -> None:
    def room(name: str) -> ModuleType:
        module = ModuleType(name)
        module.__path__ = []

        def cosine() -> int:
            return 0

        cosine.__module__ = name
        module.cosine = piece("schedule")(cosine)  # type: ignore[attr-defined]
        return module

    assert list(collect(room("a"))) == ["cosine"]
    with pytest.raises(ValueError, match="two pieces are called 'cosine': in a and in b"):
        collect(room("a"), room("b"))


@pytest.mark.parametrize("name", sorted(table()))
def test_every_piece_stands_at_the_front(name: str) -> None:
    kind = table()[name]
    lifted = getattr(front, name)
    assert lifted.kind is kind
    assert list(inspect.signature(lifted).parameters) == list(kind.signature.parameters)
    if kind.role != "recipe":
        assert getattr(pieces, name).kind is kind
    required = [p for p in kind.signature.parameters.values() if p.default is p.empty]
    if not required and name != "partition":
        assert isinstance(lifted(), Strategy)


def test_nothing_else_stands_at_the_front() -> None:
    public = {name for name in vars(front) if not name.startswith("_")} - {"annotations"}
    assert public == set(table())


@pytest.mark.parametrize("name", sorted(table()))
def test_every_piece_says_what_it_is(name: str) -> None:
    kind: Kind[..., object] = table()[name]
    first = (inspect.getdoc(kind.function) or "").splitlines()[0]
    assert first.endswith((".", ",", ":")) or len(first) > 20
    assert all(p.annotation is not p.empty for p in kind.signature.parameters.values())


def test_a_name_that_is_not_there() -> None:
    assert lookup("cosine").role == "schedule"
    with pytest.raises(UnknownName, match=r"no piece 'cosin'\. Did you mean 'cosine'"):
        lookup("cosin")
