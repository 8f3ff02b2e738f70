"""Convolutions: the members' channels side by side, one group a member."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from steepest.fleet.lowering import Members, lowers


def side_by_side(members: Members, x: Tensor) -> Tensor:
    """``(B, C, ...)`` of each member as ``(B, K * C, ...)``: no copy where the members already lie so."""
    return members.bare(x, 1).flatten(1, 2)


def _convolution(function: Any, dims: int) -> None:
    def convolution(
        members: Members,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Any:
        if not members.stacked(weight) or input.ndim != dims + 2 or not members.known(input, bias):
            return NotImplemented
        k = members.count
        if members.plain(input):
            x = input if groups == 1 else None
            if x is None:
                return NotImplemented
            w, own = members.bare(weight).flatten(0, 1), 1
        else:
            x, w, own = side_by_side(members, input), members.bare(weight).flatten(0, 1), k * groups
        b = None if bias is None else members.bare(bias).flatten()
        y = function(x, w, b, stride, padding, dilation, own)
        return members.hide(torch.unflatten(y, 1, (k, -1)), 1)

    lowers(function)(convolution)


_convolution(torch.conv1d, 1)
_convolution(torch.conv2d, 2)
_convolution(torch.conv3d, 3)


def _pooling(function: Any, dims: int) -> None:
    def pooling(members: Members, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not members.stacked(input) or input.ndim != dims + 2 or kwargs.get("return_indices"):
            return NotImplemented
        x = side_by_side(members, input)
        if dims == 2 and not x.is_cuda:
            x = x.contiguous(memory_format=torch.channels_last)  # torch's loops over channels are many times faster
        y = function(x, *args, **kwargs)
        return members.hide(torch.unflatten(y, 1, (members.count, -1)), 1)

    lowers(function)(pooling)


for _dims in (1, 2, 3):
    for _name in ("max_pool", "avg_pool", "adaptive_avg_pool"):
        _pooling(getattr(F, f"{_name}{_dims}d"), _dims)
