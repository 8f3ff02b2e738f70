from __future__ import annotations

from typing import Any

import pytest
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, ExponentialLR

from steepest.core.errors import HyperparameterError
from steepest.schedules import Constant, Cosine, Exponential, Product, Warmup, cosine, plateau, product, warmup


def test_agrees_with_torch(torch_factors: Any) -> None:
    theirs = torch_factors(lambda opt: ChainedScheduler([ConstantLR(opt, 0.1, 20), ExponentialLR(opt, 0.9)]), 40)
    assert Product((Constant(0.1, 20), Exponential(0.9))).values(40) == pytest.approx(theirs, abs=1e-12)


def test_multiplies() -> None:
    expected = [a * b for a, b in zip(Warmup(5).values(20), Cosine().values(20), strict=True)]
    assert product(warmup(5), cosine()).build().values(20) == expected


def test_nests() -> None:
    assert product(product(warmup(5)), cosine()).build().values(20) == product(warmup(5), cosine()).build().values(20)
    assert str(product(warmup(5), cosine(), on="beta1")) == "product(warmup(steps=5), cosine(), on='beta1')"


def test_errors() -> None:
    with pytest.raises(HyperparameterError, match="needs schedules"):
        product()
    with pytest.raises(HyperparameterError, match="state of its own"):
        product(cosine(), plateau())
