"""Attention: members beside the batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from steepest.fleet.layers.noise import dropped
from steepest.fleet.lowering import Members, lowers


@lowers(F.scaled_dot_product_attention)
def attention(
    members: Members,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Attention, by torch's own kernel where there is no dropout."""
    if not members.known(query, key, value, attn_mask) or enable_gqa or query.ndim < 3:
        return NotImplemented
    q, k, v = (members.bare(x) for x in (query, key, value))
    if dropout_p == 0:
        if attn_mask is None and q.ndim == 5:
            y = F.scaled_dot_product_attention(
                q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), is_causal=is_causal, scale=scale
            )
            return members.hide(torch.unflatten(y, 0, q.shape[:2]))
        mask = None if attn_mask is None else _mask(members, attn_mask, q.ndim)
        return members.hide(F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, scale=scale))
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        above = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(above, -math.inf)
    if attn_mask is not None:
        mask = _mask(members, attn_mask, q.ndim)
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return members.hide(dropped(members, scores.softmax(-1), dropout_p) @ v)


def _mask(members: Members, mask: Tensor, ndim: int) -> Tensor:
    """With the member dimension in front of those that it broadcasts over."""
    if not members.stacked(mask):
        return mask
    own = members.bare(mask)
    return own.view(len(own), *[1] * (ndim - own.ndim), *own.shape[1:])
