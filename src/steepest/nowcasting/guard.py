"""Whether some weights are better than others by more than the noise of a few batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def p_value(gains: Sequence[float]) -> float:
    r"""The probability of a mean gain as large as this one, were each batch as likely to speak for as against.

    The exact test of sign flips: of the :math:`2^m` ways to give the :math:`m` paired differences their signs, the part
    whose sum is at least the one found. Where the differences are symmetric about zero, whatever their distribution,
    it is at most :math:`\alpha` with a probability of at most :math:`\alpha`. One-sided. 1 where a gain is no number.

    Args:
        gains: For each batch, the loss before less the loss after; 1 to 16 of them.

    Source: Fisher 1935, "The Design of Experiments", section 21.

    >>> p_value([0.2, 0.1, 0.3]), p_value([0.2, 0.1, -0.3])
    (0.125, 0.625)
    """
    if any(not math.isfinite(gain) for gain in gains):
        return 1.0
    d = torch.tensor(list(gains), dtype=torch.float64)
    m = len(d)
    signs = 1.0 - 2.0 * ((torch.arange(2**m)[:, None] >> torch.arange(m)) & 1)
    sums = signs.to(torch.float64) @ d
    return float((sums >= sums[0] - 1e-12 * d.abs().sum()).double().mean())
