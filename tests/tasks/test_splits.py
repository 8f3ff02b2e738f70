from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from steepest.tasks.splits import fraction, split_of, split_rows


def test_the_hash_is_fixed_for_all_time() -> None:
    assert fraction("digits/0") == pytest.approx(0.25458, abs=1e-5)
    assert [split_of(f"digits/{i}")[1] for i in range(12)] == list("ereerraaerrr")


@given(some.text(), some.floats(0, 0.5), some.floats(0, 0.5))
def test_a_fraction_lies_in_the_unit_interval_and_decides(name: str, validation: float, test: float) -> None:
    u = fraction(name)
    assert 0 <= u < 1
    split = split_of(name, validation, test)
    assert (split == "validation") == (u < validation)
    assert (split == "train") == (u >= validation + test)


def test_shares_are_as_asked() -> None:
    splits = [split_of(f"x/{i}", 0.1, 0.3) for i in range(10_000)]
    for split, share in (("validation", 0.1), ("test", 0.3), ("train", 0.6)):
        assert splits.count(split) / 10_000 == pytest.approx(share, abs=4 * (share * (1 - share) / 10_000) ** 0.5)


def test_rows_are_divided_and_none_is_lost() -> None:
    x = torch.arange(500)
    parts = split_rows("t", x[:, None], x)
    assert sorted(torch.cat([y for _, y in parts]).tolist()) == x.tolist()
    assert all(torch.equal(a[:, 0], b) for a, b in parts)
    longer = split_rows("t", torch.arange(600)[:, None], torch.arange(600))
    assert all(torch.equal(a[1], b[1][: len(a[1])]) for a, b in zip(parts, longer, strict=True))
