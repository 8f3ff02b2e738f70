"""Search spaces: exact text, points that are strategies, even draws, edges that move."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import numpy
import pytest
import torch
from hypothesis import given

from steepest.core.errors import HyperparameterError, SteepestError, UnknownName
from steepest.core.piece import ArgumentError
from steepest.strategy import Strategy, names, parse, table
from steepest.strategy.dimension import Choice, Range, SpaceError, choice, log, near_one
from steepest.strategy.space import Space, space
from steepest.strategy.text import StrategySyntaxError
from steepest.strategy.usual import MEANINGS, default_space, meaning

EXAMPLES = [
    "adamw(lr=log(1e-5, 1e-1), betas=(0.9, choice(0.95, 0.99)), weight_decay=log(1e-4, 1)) "
    "| warmup_cosine(warmup=(0, 0.2)) | clip_norm(log(0.1, 10))",
    "muon(lr=log(1e-3, 1e-1), rest=adamw(lr=log(1e-4, 1e-2), betas=((0.8, 0.95), 0.99))) | warmup(steps=(10, 200))",
    "sgd(lr=log(1e-3, 1), momentum=near_one(0.5, 0.99), nesterov=choice(True, False)) | step(every=uniform(0.1, 0.5))",
    "adamw | multistep(at=((0.3, 0.5), 0.8))",
    "sgd(0.1) | sequence(warmup(), cosine(end=(0, 0.1)), at=(0.1,))",
    "adamw | cosine | cosine(end=(0.1, 0.4), on='weight_decay')",
    "soap(every=(5, 50)) | lookahead(k=(2, 10))",
    "adamw(log(1e-4, 1e-2), (near_one(0.5, 0.99), 0.999))",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_space_prints_as_it_is_read(text: str) -> None:
    made = space(text)
    assert space(str(made)) == made
    assert len(made) >= 1


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_point_is_a_strategy_that_can_be_written_and_read(text: str) -> None:
    made = space(text)
    for point in made.sample(7, seed=3):
        strategy = made.at(point)
        assert parse(str(strategy)) == strategy
        assert all(0 <= place <= 1 for place in made.places(point).values())


def test_a_recipe_is_searched_through_its_own_arguments() -> None:
    assert space("transformer(lr=log(1e-4, 1e-2))").at({"lr": 0.005}) == parse("transformer(lr=0.005)")


def test_values_say_the_same_as_text() -> None:
    rest = "adamw(lr=log(1e-4, 1e-2), betas=(0.9, 0.95))"
    text = space(f"muon(momentum=near_one(0.5, 0.99), rest={rest}) | warmup_cosine(warmup=(0, 0.2))")
    value = space("muon | warmup_cosine", {
        "rest.lr": log(1e-4, 1e-2), "warmup": (0, 0.2), "muon.momentum": near_one(0.5, 0.99),
    })  # fmt: skip
    assert value == text
    assert space(text, {"rest.lr": choice(1e-3, 1e-2)}).dimensions["muon.rest.lr"] == Choice((1e-3, 1e-2))


# ---------------------------------------------------------------------------------------------------------- dimensions

scales = st.sampled_from(
    [Range(1e-5, 0.3, "log"), Range(-2.0, 5.0), Range(0.0, 0.99, "near_one"), Range(0.5, 0.999, "near_one")]
)


@given(scales, st.floats(0, 1))
def test_place_undoes_at_to_the_digits_that_are_kept(dimension: Range, u: float) -> None:
    x = dimension.at(u)
    assert dimension.low <= x <= dimension.high and dimension.holds(x)
    assert dimension.place(x) == pytest.approx(u, abs=2e-3)


@given(scales, st.floats(0, 1), st.floats(0, 1))
def test_at_is_monotone(dimension: Range, u: float, v: float) -> None:
    assert (dimension.at(u) <= dimension.at(v)) or u > v


@pytest.mark.parametrize("dimension", [Range(1000.0, 1001.0), Range(100.0, 100.5, "log"), Range(-5e6, -5e6 + 1)])
def test_a_range_that_is_narrow_beside_its_ends_is_no_pair_of_values(dimension: Range) -> None:
    assert len({dimension.at(i / 99) for i in range(100)}) == 100


def test_a_log_range_gives_every_decade_alike_and_a_momentum_every_horizon() -> None:
    rate, momentum = log(1e-4, 1e-1), near_one(0.0, 0.99)
    assert [rate.at(i / 3) for i in range(4)] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert [1 / (1 - momentum.at(i / 2)) for i in range(3)] == pytest.approx([1, 10, 100], rel=1e-3)


@pytest.mark.parametrize("dimension", [Range(2, 10, whole=True), Range(1, 9, "log", whole=True)])
def test_whole_numbers_are_all_reached_and_an_even_range_draws_them_evenly(dimension: Range) -> None:
    drawn = [dimension.at(u) for u in numpy.linspace(0, 1, 9001)]
    counts = {v: drawn.count(v) for v in range(int(dimension.low), int(dimension.high) + 1)}
    assert set(drawn) == set(counts) and all(isinstance(v, int) for v in drawn)
    if dimension.scale == "linear":
        assert max(counts.values()) - min(counts.values()) <= 2


@given(scales, st.sampled_from(["low", "high"]))
def test_an_extended_range_holds_the_old_one_and_goes_a_third_further(dimension: Range, end: Any) -> None:
    longer = dimension.extended(end)
    assert longer.low <= dimension.low and longer.high >= dimension.high
    beyond = -dimension.place(longer.low) if end == "low" else dimension.place(longer.high) - 1
    assert beyond == pytest.approx(1 / 3, abs=0.05)


# --------------------------------------------------------------------------------------------------------------- draws


def test_of_n_points_one_lies_in_each_nth_of_a_range() -> None:
    made = space(EXAMPLES[0])
    for n in (1, 3, 8):
        points = made.sample(n, seed=5)
        for path in ("adamw.lr", "warmup_cosine.warmup", "clip_norm.max_norm"):
            cells = sorted(min(int(made.places(p)[path] * n + 1e-3), n - 1) for p in points)
            assert cells == list(range(n))


def test_the_same_seed_draws_the_same_points_and_another_one_others() -> None:
    made = space(EXAMPLES[0])
    assert made.sample(5, 1) == made.sample(5, 1) == made.sample(5, [1])
    assert made.sample(5, 1) != made.sample(5, 2)


def test_two_rules_try_the_same_places_in_what_means_the_same() -> None:
    a, b = default_space(parse("adamw")), default_space(parse("lion"))
    for p, q in zip(a.sample(6, 4), b.sample(6, 4), strict=True):
        x, y = a.places(p), b.places(q)
        assert x["adamw.lr"] == pytest.approx(y["lion.lr"], abs=1e-3)
        assert x["adamw.beta1"] == pytest.approx(y["lion.beta1"], abs=1e-3)
    assert len({round(v, 3) for v in a.places(p).values()}) == len(a)  # and different places in different dimensions


# --------------------------------------------------------------------------------------------------------------- edges


def test_edges_are_shares_of_the_range_on_its_own_scale() -> None:
    made = space("sgd(lr=log(1e-4, 1), momentum=near_one(0, 0.99))")
    assert made.edges({"lr": 1e-1, "momentum": 0.9})["sgd.lr"] == pytest.approx((0.75, 0.25))
    assert made.near_edges({"lr": 0.5, "momentum": 0.9}) == [("sgd.lr", "high")]
    assert made.near_edges({"lr": 2e-4, "momentum": 0.985}) == [("sgd.lr", "low"), ("sgd.momentum", "high")]
    assert made.near_edges({"lr": 0.4, "momentum": 0.9}, share=0.05) == []


def test_an_end_beyond_which_there_is_nothing_is_no_edge() -> None:
    made = space("sgd(lr=0.1, momentum=near_one(0, 0.99)) | warmup_cosine(warmup=(0, 0.2)) | clip_norm(choice(1, 2))")
    assert made.near_edges({"momentum": 0.0, "warmup": 0.0, "max_norm": 1}) == []
    assert made.extended("warmup", "low") is made and made.extended("momentum", "low") is made
    longer = made.extended("momentum", "high").dimensions["sgd.momentum"]
    assert isinstance(longer, Range) and 0.99 < longer.high < 1
    with pytest.raises(SpaceError, match="a choice has no end"):
        made.extended("max_norm", "low")
    both = made.extended("momentum", "high").extended("warmup", "high")
    assert space(str(both)) == both != made


def test_an_extension_that_reaches_too_far_is_shorter() -> None:
    made = space("adamw | warmup_cosine(warmup=(0.1, 0.9))")
    longer = made.extended("warmup", "high").dimensions["warmup_cosine.warmup"]
    assert isinstance(longer, Range) and 0.9 < longer.high < 1


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "kind", "said", "marked"),
    [
        ("adamw(lr=log(0, 1))", SpaceError, "adamw, lr: a logarithm needs numbers above 0", "log(0, 1)"),
        ("adamw(lr=log(1e-1, 1e-3))", SpaceError, "from a smaller to a larger", "log(1e-1, 1e-3)"),
        ("adamw(lr=log(1e-3))", StrategySyntaxError, "log takes two numbers", "log(1e-3)"),
        ("adamw(betas=(0.9, (0.9, 1.5)))", HyperparameterError, "outside", "(0.9, 1.5)"),
        ("adamw(lr=choice(1))", SpaceError, "at least two values", "choice(1)"),
        ("adamw(lr=choice(1, 1))", SpaceError, "twice", "choice(1, 1)"),
        ("adamw(lrr=log(1, 2))", ArgumentError, "Did you mean 'lr'", "lrr=log(1, 2)"),
        ("adamw(lr=log(1, 2), lr=3)", StrategySyntaxError, "twice", "lr=3"),
        ("adamw(amsgrad=(0, 1))", SpaceError, "amsgrad is no number", "(0, 1)"),
        ("soap(every=(0.5, 3))", SpaceError, "whole numbers", "(0.5, 3)"),
        ("adamw(lr=logg(1, 2))", UnknownName, "Did you mean 'log'", "logg"),
        ("sgd(momentum=near_one(0.5, 1))", SpaceError, "below 1", "near_one(0.5, 1)"),
        ("muon(rest=adamw(lr=log(-1, 2)))", SpaceError, "adamw, lr", "log(-1, 2)"),
        ("adamvw(lr=log(1, 2))", UnknownName, "Did you mean 'adamw'", "adamvw"),
        ("adamw(lr=('a', 2))", SpaceError, "two numbers", "('a', 2)"),
        ("adamw(lr=log(1, 2) + 1)", StrategySyntaxError, "arithmetic", "log(1, 2) + 1"),
        ("adamw(lr=log(-1, 2)", StrategySyntaxError, "never closed", "("),
    ],
)  # fmt: skip
def test_an_error_points_at_the_place(text: str, kind: type[Exception], said: str, marked: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        space(text)
    line, arrow = str(caught.value).splitlines()[-2:]
    assert line.strip() == text
    assert line[arrow.index("^") : arrow.rindex("^") + 1] == marked


def test_a_point_is_checked() -> None:
    made = space("muon(lr=log(1e-3, 1e-1), rest=adamw(lr=log(1e-4, 1e-2)))")
    good = {"muon.lr": 1e-2, "rest.lr": 1e-3}
    assert made.complete(good) == {"muon.lr": 1e-2, "muon.rest.lr": 1e-3}
    with pytest.raises(SpaceError, match=r"no value for 'muon.rest.lr'"):
        made.at({"muon.lr": 1e-2})
    with pytest.raises(SpaceError, match="outside of log"):
        made.at({**good, "muon.lr": 1.0})
    with pytest.raises(SpaceError, match=r"'muon.lr' or 'muon.rest.lr'"):
        made.at({"lr": 1e-2})
    with pytest.raises(UnknownName, match=r"no dimension 'rest.lrr'"):
        made.at({"muon.lr": 1e-2, "rest.lrr": 1e-2})


def test_values_in_place_of_text_are_checked_too() -> None:
    with pytest.raises(SpaceError, match="log\\(a, b\\)"):
        space("adamw", {"lr": 3})
    with pytest.raises(UnknownName, match="no dimension 'lrr'"):
        space("adamw", {"lrr": log(1, 2)})
    with pytest.raises(HyperparameterError):
        space("adamw", {"beta1": (0.5, 1.5)})
    with pytest.raises(SpaceError, match="made from a strategy"):
        space(3)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- default spaces

RULES = [n for n in names("rule") if n != "partition"]


@pytest.mark.parametrize("name", [*RULES, *names("recipe")])
def test_every_rule_and_recipe_has_a_default_space_that_trains(name: str) -> None:
    made = default_space(Strategy(table()[name]()))
    assert {meaning(path) for path in made} <= set(MEANINGS) and len(made) >= 1
    assert space(str(made)) == made
    for point in made.sample(2, seed=1):
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
        made.at(point).optimizer(model, steps=10_000, steps_per_epoch=5)


def test_the_meanings_are_the_same_in_the_units_of_each_rule() -> None:
    """Decay takes the same share of a weight a step, whatever the usual learning rate of the rule is."""
    for name in ("adamw", "lion", "sgd", "muon", "soap"):
        d = default_space(Strategy(table()[name]())).dimensions
        rate, decay = d[f"{name}.lr"], d[f"{name}.weight_decay"]
        assert isinstance(rate, Range) and isinstance(decay, Range)
        middle = math.sqrt(rate.low * rate.high)
        assert middle * decay.low == pytest.approx(1e-7, rel=0.5)
        assert middle * decay.high >= 0.5e-3
        assert any(path.endswith("warmup") for path in d) and "clip_norm.max_norm" in d


def test_what_the_strategy_says_lies_inside_its_space() -> None:
    made = default_space(parse("sgd(lr=7.0, momentum=0.999, weight_decay=1e-8) | one_cycle | clip_norm(0.01)"))
    d = made.dimensions
    for path, value in (("sgd.lr", 7.0), ("sgd.momentum", 0.999), ("sgd.weight_decay", 1e-8),
                        ("one_cycle.warmup", 0.3), ("clip_norm.max_norm", 0.01)):  # fmt: skip
        assert d[path].holds(value), path


def test_a_schedule_is_kept_and_gets_a_warm_up_where_it_has_none() -> None:
    assert "warmup.steps" in default_space(parse("sgd | cosine")).dimensions
    assert str(default_space(parse("sgd | cosine")).base.role("schedule")[0]) == "cosine()"
    assert "warmup_constant.warmup" in default_space(parse("schedule_free_adamw")).dimensions
    assert not [p for p in default_space(parse("sgd | noam_decay")).dimensions if "warmup" in p]


def test_a_space_can_be_made_by_hand() -> None:
    piece = table()["lion"]()
    made = Space((piece,), ((0, ("lr",), log(1e-5, 1e-3)),))
    assert made == space(piece, {"lr": log(1e-5, 1e-3)}) == space("lion(lr=log(1e-5, 1e-3))")
    with pytest.raises(SteepestError):
        Space((piece,), ((0, ("betas", 0), Range(0.5, 1.5)),))


def test_a_choice_between_whole_pieces() -> None:
    text = "adamw(lr=log(0.0001, 0.1)) | choice(cosine(), step(every=30)) | clip_norm()"
    made = space(text)
    assert str(made) == text and space(str(made)) == made
    assert list(made.dimensions) == ["adamw.lr", "schedule"]
    points = made.sample(4, 0)
    assert sorted({made.at(p).role("schedule")[0].name for p in points}) == ["cosine", "step"]
    assert all(made.complete(p) == p and made.near_edges({**p, "adamw.lr": 0.003}) == [] for p in points)
    assert str(made.base) == "adamw(lr=0.003162) | cosine() | clip_norm()"
    two = space("sgd(lr=log(0.1, 1)) | choice(cosine, linear) | choice(warmup(steps=5), warmup(steps=9))")
    assert list(two.dimensions) == ["sgd.lr", "schedule", "schedule[2]"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("choice(adamw, sgd) | cosine", "other rules are other strategies"),
        ("adamw | choice(cosine, clip_norm)", "several roles"),
        ("adamw | choice(cosine, warmup(steps=(0, 0.2)))", "have no ranges"),
        ("adamw | choice(cosine)", "at least two"),
        ("adamw | choice()", "at least two"),
    ],
)
def test_what_no_choice_between_pieces_is(text: str, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        space(text)
