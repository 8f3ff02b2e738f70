"""Normalisation: the members' channels side by side, running statistics too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steepest.fleet.layers.convolution import side_by_side
from steepest.fleet.lowering import Members, lowers


@lowers(torch.batch_norm)
def batch_norm(
    members: Members,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Any:
    """Batch normalisation of all channels of all members; running statistics are written in place."""
    if not members.stacked(input) or input.ndim < 2 or not members.known(weight, bias, running_mean, running_var):
        return NotImplemented
    kept = [x for x in (running_mean, running_var) if x is not None]
    if not all(members.stacked(x) and members.bare(x).is_contiguous() for x in kept):
        return NotImplemented  # statistics are written in place

    def flat(x: Tensor | None) -> Tensor | None:
        return None if x is None else members.bare(x).reshape(-1)

    y = torch.batch_norm(
        side_by_side(members, input),
        flat(weight),
        flat(bias),
        flat(running_mean),
        flat(running_var),
        training,
        momentum,
        eps,
        cudnn_enabled,
    )
    return members.hide(torch.unflatten(y, 1, (members.count, -1)), 1)


@lowers(torch.layer_norm)
def layer_norm(
    members: Members,
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:
    """Layer normalisation, then each member's own weight and bias."""
    if not members.stacked(input) or not members.known(weight, bias):
        return NotImplemented
    x = members.bare(input)
    y = torch.layer_norm(x, normalized_shape, None, None, eps, cudnn_enable)
    for value, apply in ((weight, torch.mul), (bias, torch.add)):
        if value is not None:
            own = members.bare(value)
            y = apply(y, own.view(len(own), *[1] * (x.ndim - own.ndim), *own.shape[1:]))
    return members.hide(y)
