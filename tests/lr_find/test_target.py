"""Any number of a strategy can be looked for, by its name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from steepest.lr_find import RangeError, target
from steepest.strategy import parse


@pytest.mark.parametrize(
    ("text", "over", "value", "expected"),
    [
        ("sgd(lr=0.1) | cosine", "lr", 0.3, "sgd(lr=0.3) | cosine()"),
        ("adamw(lr=0.1)", "weight_decay", 0.5, "adamw(lr=0.1, weight_decay=0.5)"),
        ("adamw(lr=0.1)", "beta2", 0.5, "adamw(lr=0.1, betas=(0.9, 0.5))"),
        ("adamw(lr=0.1)", "eps", 0.5, "adamw(lr=0.1, eps=0.5)"),
        ("sgd(lr=0.1) | clip_norm(1.0)", "max_norm", 3.0, "sgd(lr=0.1) | clip_norm(max_norm=3.0)"),
        ("sgd(lr=0.1) | sam", "rho", 0.2, "sgd(lr=0.1) | sam(rho=0.2)"),
        ("muon(lr=0.1, rest=adamw(lr=0.01))", "rest.lr", 0.5, "muon(lr=0.1, rest=adamw(lr=0.5))"),
        ("muon(lr=0.1, rest=adamw(lr=0.01))", "lr", 0.5, "muon(lr=0.5, rest=adamw(lr=0.01))"),
    ],
)
def test_numbers_are_found_and_replaced(text: str, over: str, value: float, expected: str) -> None:
    assert target(parse(text), over).at(value) == parse(expected)


def test_schedules_on_it_are_left_out_while_values_are_tried() -> None:
    goal = target(parse("sgd(lr=0.1, momentum=0.9) | cosine | linear(on='momentum')"), "lr")
    assert goal.at(0.2, constant=True) == parse("sgd(lr=0.2, momentum=0.9) | linear(on='momentum')")
    assert goal.at(0.2) == parse("sgd(lr=0.2, momentum=0.9) | cosine | linear(on='momentum')")


@pytest.mark.parametrize(
    ("over", "bounded"), [("momentum", True), ("beta2", True), ("lr", False), ("weight_decay", False)]
)
def test_what_must_stay_below_1_is_searched_by_its_distance(over: str, bounded: bool) -> None:
    text = "sgd(lr=0.1, momentum=0.9)" if over == "momentum" else "adamw(lr=0.1)"
    assert target(parse(text), over).bounded is bounded


@given(value=some.floats(1e-6, 0.999999))
def test_places_lead_back(value: float) -> None:
    for over in ("lr", "momentum"):
        goal = target(parse("sgd(lr=0.1, momentum=0.9)"), over)
        assert goal.back(goal.place(value)) == pytest.approx(value)


def test_only_a_lone_number_is_swept() -> None:
    assert target(parse("sgd(lr=0.1)"), "lr").schedulable
    assert not target(parse("muon(lr=0.1)"), "rest.lr").schedulable


@pytest.mark.parametrize(
    ("text", "over", "said"),
    [
        ("sgd(lr=0.1)", "le", "no piece of sgd"),
        ("sgd(lr=0.1)", "momentun", "Did you mean 'momentum'"),
        ("partition(matrix=muon(lr=0.1), rest=adamw)", "lr", "several 'lr'. Say which: "),
        ("sgd(lr=0.1)", "nesterov", "has a number 'nesterov'"),
        ("apollo(rest=lion)", "every", "'every' of apollo.* is a count, of which there is none between 200 and 201"),
        ("lbfgs", "max_iter", "'max_iter' of lbfgs.* is a count"),
        ("sgd(lr=0.1) | gradient_noise", "noise_seed", "with steepest compare"),
    ],
)
def test_unknown_numbers_are_refused(text: str, over: str, said: str) -> None:
    with pytest.raises(RangeError, match=said):
        target(parse(text), over)


def test_a_value_out_of_range_is_refused_by_name() -> None:
    with pytest.raises(RangeError, match=r"momentum=1\.5 cannot be tried"):
        target(parse("sgd(lr=0.1, momentum=0.9)"), "momentum").at(1.5)
