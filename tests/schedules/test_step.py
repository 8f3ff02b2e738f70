from __future__ import annotations

from typing import Any

import pytest
from torch.optim.lr_scheduler import StepLR

from steepest.schedules import Step


@pytest.mark.parametrize("every", [1, 3, 10, 100])
@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.97, 1.0])
def test_agrees_with_torch(torch_factors: Any, every: int, gamma: float) -> None:
    theirs = torch_factors(lambda opt: StepLR(opt, every, gamma), 60)
    assert Step(every, gamma).values(60) == pytest.approx(theirs, rel=1e-12)


def test_by_epoch_it_is_torch_stepped_once_an_epoch(torch_factors: Any) -> None:
    theirs = torch_factors(lambda opt: StepLR(opt, 2, 0.1), 6)
    ours = Step(2, by="epoch").values(6 * 5, epoch=5)
    assert ours[::5] == pytest.approx(theirs, rel=1e-12)
    assert ours[4::5] == ours[::5]
