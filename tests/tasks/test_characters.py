"""Both character models: no position sees what comes after it, and each sees what comes before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from steepest.tasks.char_lstm import lstm
from steepest.tasks.char_transformer import transformer


@pytest.mark.parametrize("make", [lstm, transformer])
def test_models_are_causal(make: Callable[[], nn.Module]) -> None:
    model = make().eval()
    text = torch.randint(96, (1, 64))
    changed = text.clone()
    changed[0, 40] = (changed[0, 40] + 1) % 96
    with torch.no_grad():
        moved = (model(text) - model(changed)).abs().amax(-1)[0]
    assert model(text).shape == (1, 64, 96)
    assert moved[:40].max() == 0
    assert moved[40:].min() > 0


def test_residual_outputs_start_smaller() -> None:
    torch.manual_seed(0)
    sd = {n: p.std().item() for n, p in transformer().named_parameters() if p.ndim > 1}
    for name, value in sd.items():
        residual = name.endswith(("attention_out.weight", "contract.weight"))
        assert value == pytest.approx(0.01 if residual else 0.02, rel=0.05), name
