from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, LinearLR, SequentialLR, StepLR

from steepest.core.errors import HyperparameterError
from steepest.schedules import (
    Clock,
    ClockError,
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    Linear,
    Rex,
    Schedule,
    Sequence,
    Step,
    Warmup,
    cosine,
    plateau,
    sequence,
    step,
)


def test_cosine_for_fifty_steps_then_step_decay() -> None:
    values = sequence(cosine(end=0.1), step(every=30, gamma=0.5), at=[50]).build().values(120)
    assert values[:50] == Cosine(50, end=0.1).values(50)
    assert values[50:] == pytest.approx([0.1] * 30 + [0.05] * 30 + [0.025] * 10)


PARTS: list[Schedule] = [
    Cosine(end=0.1), Linear(1.0, 0.3), Step(9, 0.5), Exponential(0.97), Rex(end=0.2), Constant(0.5),
]  # fmt: skip


@given(
    parts=st.lists(st.sampled_from(PARTS), min_size=2, max_size=5),
    lengths=st.lists(st.integers(1, 80), min_size=5, max_size=5),
)
def test_no_jump_at_any_joint(parts: list[Schedule], lengths: list[int]) -> None:
    at = [sum(lengths[: i + 1]) for i in range(len(parts) - 1)]
    total = sum(lengths[: len(parts)])
    whole, clock = Sequence(tuple(parts), at), Clock(total)
    for i, joint in enumerate(at):
        before = Sequence(tuple(parts[: i + 1]), at[:i]) if i else parts[0]
        assert whole.factor(joint, clock) == pytest.approx(before.factor(joint, Clock(joint)), rel=1e-12)
    assert all(v > 0 for v in whole.values(total))


@given(cut=st.integers(1, 99))
def test_a_schedule_cut_in_two_where_its_form_allows_is_itself(cut: int) -> None:
    assert Sequence((Exponential(0.97), Exponential(0.97)), [cut]).values(100) == pytest.approx(
        Exponential(0.97).values(100), rel=1e-12
    )


def make_warmup_then_decay(opt: Any) -> SequentialLR:
    parts: list[Any] = [LinearLR(opt, 0.1, total_iters=5), ExponentialLR(opt, 0.9)]
    return SequentialLR(opt, parts, milestones=[5])


def make_constant_then_step(opt: Any) -> SequentialLR:
    return SequentialLR(opt, [ConstantLR(opt, 0.1, total_iters=100), StepLR(opt, 4, 0.5)], milestones=[7])


@pytest.mark.parametrize(
    ("make", "ours"),
    [
        (make_warmup_then_decay, Sequence((Linear(0.1, 1.0, 5), Exponential(0.9)), [5], restart=True)),
        (make_constant_then_step, Sequence((Constant(0.1), Step(4, 0.5)), [7], restart=True)),
    ],
)
def test_with_restart_it_agrees_with_torch(torch_factors: Any, make: Any, ours: Sequence) -> None:
    assert ours.values(30) == pytest.approx(torch_factors(make, 30), abs=1e-12)


def test_a_sequence_in_a_sequence_keeps_its_own_clock_where_torch_does_not(torch_factors: Any) -> None:
    def make(opt: Any) -> SequentialLR:
        inner = SequentialLR(opt, [ConstantLR(opt, 0.5, 100), ConstantLR(opt, 0.2, 100)], milestones=[2])
        return SequentialLR(opt, [inner, ConstantLR(opt, 0.1, 100)], milestones=[4])

    inner = Sequence((Constant(0.5), Constant(0.2)), [2], restart=True)
    ours = Sequence((inner, Constant(0.1)), [4], restart=True).values(6)
    assert ours == [0.5, 0.5, 0.2, 0.2, 0.1, 0.1]
    assert torch_factors(make, 6)[:4] == pytest.approx([0.5, 0.2, 0.2, 0.2])  # the inner one was stepped when made


def test_a_resumed_run_goes_on_where_torch_does_not() -> None:
    """torch's parts set the learning rate when they are made, over the one that was just restored."""

    def make(opt: torch.optim.Optimizer) -> SequentialLR:
        parts: list[Any] = [ConstantLR(opt, 0.1, total_iters=100), ExponentialLR(opt, 0.9)]
        return SequentialLR(opt, parts, milestones=[3])

    def optimizer() -> torch.optim.SGD:
        return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opt = optimizer()
        scheduler = make(opt)
        for _ in range(4):
            opt.step()
            scheduler.step()
        assert opt.param_groups[0]["lr"] == pytest.approx(0.9)
        resumed = optimizer()
        resumed.load_state_dict(copy.deepcopy(opt.state_dict()))
        make(resumed).load_state_dict(copy.deepcopy(scheduler.state_dict()))
    assert resumed.param_groups[0]["lr"] == pytest.approx(0.1)  # ten times too small, for the rest of training
    ours = Sequence((Constant(0.1), Exponential(0.9)), [3], restart=True)
    assert ours.factor(4, Clock()) == pytest.approx(0.9)


def test_local_clock_and_total() -> None:
    values = Sequence((Linear(1.0, 0.5), Cosine(end=0.2)), at=(0.5,)).values(40)
    assert values[:20] == Linear(1.0, 0.5, 20).values(20)
    assert values[20:] == pytest.approx([0.5 * f for f in Cosine(20, end=0.2).values(20)])


def test_by_epoch_inside_and_outside() -> None:
    outside = Sequence((Linear(1.0, 0.5), Step(2, 0.5)), [3], by="epoch").values(80, epoch=10)
    assert outside[::10] == Sequence((Linear(1.0, 0.5), Step(2, 0.5)), [3]).values(8)
    inside = Sequence((Constant(), Step(1, 0.5, by="epoch")), ["2 epochs"]).values(50, epoch=10)
    assert inside == [1.0] * 30 + [0.5] * 10 + [0.25] * 10


@pytest.mark.parametrize(
    ("parts", "message"),
    [((Cosine(), Step(9)), "cosine ends at 0"), ((Step(9), Linear(0.0, 1.0, 10)), "linear starts at 0")],
)
def test_a_joint_at_zero_is_refused_before_training(parts: Any, message: str) -> None:
    with pytest.raises(HyperparameterError, match=rf"{message}.*restart=True"):
        Sequence(parts, [50])
    late = Sequence(parts, ["2 epochs"])
    with pytest.raises(HyperparameterError, match=message):
        late.factor(0, Clock(100, 10))
    assert Sequence(parts, [50], restart=True).factor(0, Clock(100)) >= 0


def test_a_warmup_that_would_be_scaled_up_is_refused() -> None:
    """It starts at 1/100; scaled to start at 0.1 it would peak at 10 times the base."""
    parts = (Cosine(end=0.1), Warmup(100))
    with pytest.raises(HyperparameterError, match="reach 10 times the base"):
        Sequence(parts, [500])
    assert max(Sequence(parts, [500], restart=True).values(1000)) == 1.0
    cycle = Sequence((Cosine(end=0.1), Cyclic(up=20, low=0.1)), [50])  # back to the base, not above it
    assert max(cycle.values(200)[50:]) == pytest.approx(1.0)
    growing = Sequence((Cosine(end=10.0), Constant()), [50], on="weight_decay")
    assert growing.values(100)[50:] == [10.0] * 50


def test_a_part_that_training_does_not_reach_does_not_matter() -> None:
    assert Sequence((Linear(1.0, 0.5), Step(9)), [500]).values(100) == Linear(1.0, 0.5, 500).values(100)


def test_a_warmup_first() -> None:
    assert Sequence((Warmup(5), Cosine()), [5]).values(50)[4:6] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sequence(), "needs schedules"),
        (lambda: sequence(cosine(), step(3)), "2 parts meet at 1 moment; .*e.g. at="),
        (lambda: sequence(cosine(), at=[3]), "1 part meets at 0 moments"),
        (lambda: sequence(cosine(end=0.1), step(3), step(3), at=[5, 4]), "must increase"),
        (lambda: sequence(cosine(end=0.1), plateau(), at=[5]), "state of its own"),
        (lambda: sequence(cosine(end=0.1), 3, at=[5]), "made of schedules"),  # type: ignore[arg-type]
        (lambda: sequence(cosine(on="momentum"), step(3), at=[5]), r"Say it once: sequence\(\.\.\., on='momentum'\)"),
    ],
)
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(HyperparameterError, match=message):
        make()


def test_moments_that_meet_on_the_clock_are_refused() -> None:
    with pytest.raises(HyperparameterError, match=r"in steps it is \[50, 30\]"):
        Sequence((Constant(), Constant(), Constant()), (0.5, 30)).factor(0, Clock(100))


def test_a_fraction_needs_the_total() -> None:
    with pytest.raises(ClockError, match="sequence needs the length"):
        Sequence((Constant(), Constant()), (0.5,)).factor(0, Clock())


def test_prints_as_it_is_written() -> None:
    assert str(sequence(cosine(end=0.1), step(30), at=[50])) == "sequence(cosine(end=0.1), step(every=30), at=(50,))"
