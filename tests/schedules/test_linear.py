from __future__ import annotations

from typing import Any

import pytest
from torch.optim.lr_scheduler import LinearLR

from steepest.schedules import Linear


@pytest.mark.parametrize("steps", [1, 7, 40])
@pytest.mark.parametrize(("start", "end"), [(1 / 3, 1.0), (1.0, 0.0), (0.1, 0.7), (1.0, 1.0)])
def test_agrees_with_torch(torch_factors: Any, steps: int, start: float, end: float) -> None:
    theirs = torch_factors(lambda opt: LinearLR(opt, start, end, total_iters=steps), 30)
    assert Linear(start, end, steps).values(30) == pytest.approx(theirs, abs=1e-12)


def test_ends_exactly_where_it_says() -> None:
    assert Linear(0.1, 0.7, 10).values(20)[10:] == [0.7] * 10
