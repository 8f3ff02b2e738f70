"""The helpers give floats for floats and float64 tensors for tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch

from steepest.core import scalar

VALUES = [-2.0, 0.0, 0.5, 3.0]


@pytest.mark.parametrize("function", [scalar.maximum, scalar.minimum])
def test_floats_and_tensors_agree(function: object) -> None:
    call = cast(Callable[..., Any], function)
    for b in VALUES:
        one_by_one = [call(a, b) for a in VALUES]
        a = torch.tensor(VALUES, dtype=torch.float64)
        for together in (call(a, b), call(b, a), call(a, torch.tensor(b))):
            assert together.dtype == torch.float64
            assert together.tolist() == one_by_one


def test_where() -> None:
    t = torch.tensor([1.0, 2.0])
    assert torch.as_tensor(scalar.where(t == 1, 0.1, t)).tolist() == [0.1, 2.0]
    assert torch.as_tensor(scalar.where(t == 1, 0.1, 0.2)).dtype == torch.float64
    assert scalar.where(False, 0.1, 0.2) == 0.2


def test_sqrt() -> None:
    assert scalar.sqrt(2.0) == pytest.approx(float(scalar.sqrt(torch.tensor(2.0, dtype=torch.float64))), rel=1e-15)
