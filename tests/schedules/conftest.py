"""torch's schedulers as plain lists of factors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

Factors = Callable[..., list[float]]


def factors_of(make: Callable[[Any], Any], steps: int, lr: float = 1.0, key: str = "lr", **sgd: Any) -> list[float]:
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, **sgd)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR and others warn of their own calls
        scheduler = make(opt)
        found = []
        for _ in range(steps):
            found.append(float(opt.param_groups[0][key]))
            opt.step()
            scheduler.step()
    return found


@pytest.fixture
def torch_factors() -> Factors:
    """``torch_factors(make_scheduler, steps)``: the learning rate at each step, the base being 1."""
    return factors_of
