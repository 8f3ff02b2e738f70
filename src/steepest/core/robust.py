"""Means of vectors of which some may be nonsense: the maths that gradients of tasks and updates of clients share."""

from __future__ import annotations

import torch
from torch import Tensor


def trimmed_mean(x: Tensor, trim: int) -> Tensor:
    """In each column the mean without the ``trim`` largest and smallest; NaN where there is one.

    >>> trimmed_mean(torch.tensor([[1.0], [2.0], [100.0]]), 1)
    tensor([2.])
    """
    d = x.sort(0)[0][trim : len(x) - trim].mean(0)
    return torch.where(x.isnan().any(0), torch.nan, d)


def krum_scores(apart: Tensor, near: int) -> Tensor:
    """For each of m, the sum of the squared distances ``(..., m, m)`` to its ``near`` nearest others.

    >>> krum_scores(torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.0, 9.0], [4.0, 9.0, 0.0]]), 1)
    tensor([1., 1., 4.])
    """
    own = torch.full_like(apart.diagonal(dim1=-2, dim2=-1), torch.inf)
    return (apart + torch.diag_embed(own)).topk(near, largest=False)[0].sum(-1)
