"""Two losses of two numbers on which descent on the mean gets stuck: the toy of the papers on multi-task methods."""

from __future__ import annotations

import torch
from torch import Tensor

STARTS = ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0))
"""Where the papers begin."""


def toy(x: Tensor, scale: float = 1.0) -> Tensor:
    """Both losses of CAGrad (arXiv:2110.14048, appendix) at points ``[..., 2]``; ``scale=0.1``: of Nash-MTL.

    Source: arXiv:2110.14048; the scaled first loss, arXiv:2202.01017.

    >>> toy(torch.zeros(2, dtype=torch.float64)).tolist()  # where the two halves of the plane meet
    [0.0, 0.0]
    """
    a, b = x[..., 0], x[..., 1]
    low = 5e-6
    f1 = torch.clamp((0.5 * (-a - 7) - torch.tanh(-b)).abs(), min=low).log() + 6
    f2 = torch.clamp((0.5 * (-a + 3) + torch.tanh(-b) + 2).abs(), min=low).log() + 6
    up, down = torch.clamp(torch.tanh(b * 0.5), min=0), torch.clamp(torch.tanh(-b * 0.5), min=0)
    g1 = ((-a + 7).square() + 0.1 * (-b - 8).square()) / 10 - 20
    g2 = ((-a - 7).square() + 0.1 * (-b - 8).square()) / 10 - 20
    return torch.stack([scale * (f1 * up + g1 * down), f2 * up + g2 * down], -1)
