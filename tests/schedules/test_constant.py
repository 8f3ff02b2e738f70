from __future__ import annotations

from typing import Any

import pytest
from torch.optim.lr_scheduler import ConstantLR

from steepest.schedules import Constant


@pytest.mark.parametrize("steps", [1, 5, 30])
@pytest.mark.parametrize("value", [0.1, 1 / 3, 1.0])
def test_agrees_with_torch(torch_factors: Any, steps: int, value: float) -> None:
    theirs = torch_factors(lambda opt: ConstantLR(opt, factor=value, total_iters=steps), 20)
    assert Constant(value, steps).values(20) == pytest.approx(theirs, rel=1e-12)


def test_holds_for_good_without_steps() -> None:
    assert set(Constant(0.3).values(100)) == {0.3}
