"""How much one client can change: its update is cut to a length, and nothing else of it counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHORT = 1 - 2.0**-40
"""Cut vectors are that much shorter, so that rounding never makes one longer than the bound."""


def clipped(x: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    r"""Rows cut to a length, and which were not longer: :math:`x \min(1, C / \lVert x \rVert)`.

    >>> clipped(torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64), 1.0)[1].tolist()
    [False, True]
    """
    lengths = torch.linalg.vector_norm(x.double(), dim=1)
    inside = lengths <= bound * SHORT
    factor = torch.where(inside, 1.0, bound * SHORT / lengths.clamp(min=1e-300))
    return x.double() * factor[:, None], inside


def followed(bound: float, share: float, quantile: float, rate: float) -> float:
    r"""The next bound: :math:`C \leftarrow C \exp(-\eta\,(\bar b - \gamma))`, as in arXiv:1905.03871, Algorithm 1.

    Args:
        bound: :math:`C`.
        share: :math:`\bar b`, a noisy share of the updates that were no longer.
        quantile: :math:`\gamma`, the share that should be.
        rate: :math:`\eta`.
    """
    return bound * math.exp(-rate * (share - quantile))


def split(noise: float, count_noise: float) -> float:
    r"""The noise of the sum where the count has its own: :math:`(z^{-2} - (2\sigma_b)^{-2})^{-1/2}`.

    Both together cost what noise ``z`` on the sum alone does (arXiv:1905.03871, Theorem 1).

    >>> round(split(1.0, 5.0), 4)
    1.005
    """
    return float((noise**-2 - (2 * count_noise) ** -2) ** -0.5)
