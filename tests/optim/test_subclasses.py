"""Other libraries make classes of a drop-in class: Lightning wraps each optimizer in one that shares its state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from steepest import optim
from steepest.optim import DropIn


def wrapped(optimizer: torch.optim.Optimizer) -> Any:
    """As ``lightning.pytorch.core.optimizer.LightningOptimizer`` does it."""

    class Wrapper:
        def __init__(self, inner: Any) -> None:
            self.__dict__.update(inner.__dict__)
            self.__class__ = type("Wrapped" + type(inner).__name__, (Wrapper, type(inner)), {})
            self.inner = inner

        def step(self, closure: Any = None) -> Any:
            return self.inner.step(closure)

    return Wrapper(optimizer)


@pytest.mark.parametrize("cls", [optim.AdamW, optim.SGD])
def test_a_class_made_of_a_class_is_the_same_rule(cls: type[DropIn]) -> None:
    class Mine(cls):  # type: ignore[misc,valid-type]
        """With a word of its own."""

    outcome = []
    for kind, wrap in ((cls, False), (Mine, False), (cls, True)):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer: Any = kind(model.parameters(), lr=0.1, clip_norm=1.0)
        optimizer = wrapped(optimizer) if wrap else optimizer
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(torch.ones(4, 3)).square().mean()
            loss.backward()
            optimizer.step()
        assert isinstance(optimizer, torch.optim.Optimizer)
        outcome.append(model.weight.tolist())
    assert outcome[0] == outcome[1] == outcome[2]
    assert Mine.__doc__ == "With a word of its own." and Mine.assembly is cls.assembly
