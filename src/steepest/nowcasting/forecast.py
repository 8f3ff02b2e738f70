r"""Forecasts of weights: combinations of the differences between snapshots, found from inner products alone.

With snapshots :math:`x_0, \dots, x_n` of all weights, one distance apart, and :math:`v_i = x_{i+1} - x_i`, every
forecast here is :math:`\hat x_{n+h} = x_n + \sum_i b_i v_i`. The coefficients need the Gramian of the differences
and nothing of the model's size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Forecast = Callable[[Tensor, int], "Tensor | None"]
"""From the Gramian of the differences, ``(n, n)`` in float64, and a horizon: the coefficients, or None."""

SMALL = 1e-12
"""Directions whose share of the largest is below this are rounding."""
ILL = 1e8
"""Modes that are nearer to one another than this are no basis."""


def line(gramian: Tensor, horizon: int) -> Tensor:
    r"""On the line of least squares through all snapshots: :math:`b = h w`, the line's slope in terms of differences.

    >>> line(torch.eye(3, dtype=torch.float64), 2)  # the middle difference counts most
    tensor([0.6000, 0.8000, 0.6000], dtype=torch.float64)
    """
    n = len(gramian)
    t = torch.arange(n + 1, dtype=torch.float64) - n / 2
    later = t.flip(0).cumsum(0).flip(0)[1:]  # the sum over all snapshots after each difference
    return horizon * later / t.square().sum()


def dmd(gramian: Tensor, horizon: int, rank: int = 2) -> Tensor | None:
    r"""Dynamic mode decomposition of the differences, of low rank: exact where these follow a linear law of that rank.

    With :math:`V_1 = [v_0 \dots v_{n-2}] = U \Sigma W^T` cut to ``rank``, :math:`V_2 = [v_1 \dots v_{n-1}]` and
    :math:`\tilde A = U^T V_2 W \Sigma^{-1}`, the differences to come are
    :math:`\hat v_{n-1+j} = U \tilde A^j U^T v_{n-1}`. Modes that grow are held at their size: a forecast of training
    that explodes is of no use. None where there is nothing to decompose.

    Source: Schmid 2010, doi:10.1017/S0022112010001217, section 2; the weights of networks, Dogra and Redman 2020,
    arXiv:2006.02361.

    >>> v = torch.tensor([[1.0, 0.5, 0.25]], dtype=torch.float64)  # halves each time: 0.125 + 0.0625 to come
    >>> (v @ dmd(v.T @ v, 2)).round(decimals=6)
    tensor([0.1875], dtype=torch.float64)
    """
    first, last = gramian[:-1, :-1], gramian[:-1, -1]
    if not len(first) or not gramian.isfinite().all():
        return None
    values, vectors = torch.linalg.eigh(first)
    kept = (values > SMALL * values[-1]) & (values > 0)
    kept[: max(0, len(kept) - rank)] = False
    if not kept.any():
        return None
    back = vectors[:, kept] / values[kept].sqrt()  # W / Sigma
    law = back.T @ gramian[:-1, 1:] @ back
    modes, basis = torch.linalg.eig(law)
    if torch.linalg.cond(basis) > ILL:
        return None
    modes = modes / modes.abs().clamp(min=1)
    powers = torch.stack([modes**j for j in range(1, horizon + 1)]).sum(0)
    start = torch.linalg.solve(basis, (back.T @ last).to(basis.dtype))
    ahead = (basis @ (powers * start)).real
    return torch.cat([back @ ahead, ahead.new_zeros(1)])


def along(coefficients: Sequence[float]) -> Callable[[Sequence[Tensor]], Tensor]:
    """From the snapshots of a tensor to where its differences, each so many times, lead from the last of them."""

    def way(xs: Sequence[Tensor]) -> Tensor:
        ahead = xs[-1].double()
        for c, (a, b) in zip(coefficients, pairwise(xs), strict=True):
            ahead = ahead + c * (b - a).double()
        return ahead

    return way


FORECASTS: dict[str, Forecast] = {"line": line, "dmd": dmd}
