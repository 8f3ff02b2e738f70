"""Neither optax nor pytorch_optimizer has Adam-atan2: a twin in torch's own operators stands in for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from steepest.rules import adam_atan2
from steepest.testing import Descent

torch.set_num_threads(1)


def twin(
    p: Tensor, gs: Tensor, lr: float, beta1: float, beta2: float, decay: float, a: float, b: float
) -> list[Tensor]:
    m, v, out = torch.zeros_like(p), torch.zeros_like(p), []
    for t, g in enumerate(gs, start=1):
        m = m.lerp(g, 1 - beta1)
        v = v.lerp(g.square(), 1 - beta2)
        angle = torch.atan2(m / (1 - beta1**t), b * (v / (1 - beta2**t)).sqrt())
        p = p * (1 - lr * decay) - lr * a * angle
        out.append(p)
    return out


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str)
@pytest.mark.parametrize("setting", [(1e-3, 0.9, 0.999, 0.0, 1.27, 1.0), (0.01, 0.8, 0.95, 0.1, 1.0, 2.0)], ids=str)
def test_equals_a_twin(setting: tuple[float, ...], dtype: torch.dtype, tolerance: float) -> None:
    lr, beta1, beta2, decay, a, b = setting
    make = torch.Generator().manual_seed(0)
    start, gs = torch.randn(7, generator=make).to(dtype), torch.randn(30, 7, generator=make).to(dtype)
    gs[0, :3] = 0
    gs[7:9] = 0
    ours = Descent(adam_atan2(lr, (beta1, beta2), decay, a, b).build(), start)
    for g, want in zip(gs, twin(start, gs, lr, beta1, beta2, decay, a, b), strict=True):
        torch.testing.assert_close(ours.step(g), want, rtol=tolerance, atol=tolerance)
