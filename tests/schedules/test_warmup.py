from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import LinearLR

from steepest.schedules import (
    Cosine,
    Linear,
    Rex,
    Schedule,
    Warmup,
    WarmupThen,
    warmup_constant,
    warmup_cosine,
    warmup_linear,
)

THEN: list[Schedule] = [Cosine(), Linear(), Rex(), Cosine(end=0.3), Linear(0.5, 0.1)]


@given(w=st.integers(1, 500))
def test_linear_and_no_step_is_wasted(w: int) -> None:
    values = Warmup(w).values(w + 5)
    assert values[0] == 1 / w > 0
    assert values[:w] == pytest.approx([(t + 1) / w for t in range(w)])
    assert values[w - 1 :] == [1.0] * 6


def test_is_torch_without_the_wasted_step(torch_factors: Any) -> None:
    theirs = torch_factors(lambda opt: LinearLR(opt, start_factor=0.1, total_iters=9), 20)
    assert Warmup(10).values(20) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("then", THEN)
@given(w=st.integers(1, 60), total=st.integers(70, 300))
def test_joins_the_next_schedule_without_a_jump(then: Schedule, w: int, total: int) -> None:
    values = WarmupThen(then, w).values(total)
    assert values[w - 1] == values[w] == then.values(total)[0]
    assert max(values) == values[w]
    step = max(1 / w, max(abs(a - b) for a, b in pairwise(then.values(total - w))))
    assert max(abs(a - b) for a, b in pairwise(values)) <= step + 1e-12


def test_the_peak_is_the_base_and_the_end_is_the_end() -> None:
    """A prefix that shifts the clock of the cosine makes it peak below the base, or end above its minimum."""
    values = warmup_cosine(warmup=20, end=0.01).build().values(101)
    assert max(values) == 1.0
    assert warmup_cosine(warmup=20, end=0.01).build().values(400)[399] > 0.01
    assert warmup_cosine(warmup=20, end=0.01, steps=100).build().values(101)[100] == pytest.approx(0.01)


def test_the_second_part_has_the_rest_of_training_on_its_own_clock() -> None:
    assert warmup_linear(10, end=0.5).build().values(50)[10:] == Linear(1.0, 0.5).values(40)
    assert warmup_cosine(10).build().values(50)[10:] == Cosine().values(40)
    assert warmup_cosine(0.2).build().values(50) == warmup_cosine(10).build().values(50)


def test_no_warmup() -> None:
    assert warmup_cosine(0).build().values(50) == Cosine().values(50)
    assert Warmup(0).values(3) == [1.0] * 3


def test_a_run_shorter_than_its_warmup_never_leaves_it() -> None:
    assert warmup_cosine(100).build().values(50) == Warmup(100).values(50)
    assert warmup_linear(50).build().values(50) == Warmup(50).values(50)


def test_start() -> None:
    assert Warmup(4, start=0.2).values(5) == pytest.approx([0.4, 0.6, 0.8, 1.0, 1.0])


def test_warmup_constant_is_warmup() -> None:
    assert warmup_constant(7).build() == Warmup(7)
