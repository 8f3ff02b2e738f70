"""Linear layers: one batched product for all members."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from steepest.fleet.lowering import Members, lowers


class Products(torch.autograd.Function):
    """``x @ w.mT + b`` for stacks of matrices; gradients come out laid out as the weights are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, w)
        return torch.bmm(x, w.mT) if b is None else torch.baddbmm(b.unsqueeze(1), x, w.mT)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (g,), (x, w) = grads, ctx.saved_tensors
        to_x, to_w, to_b = ctx.needs_input_grad
        return torch.bmm(g, w) if to_x else None, torch.bmm(g.mT, x) if to_w else None, g.sum(1) if to_b else None


def products(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """``(K, ..., i), (K, o, i), (K, o) -> (K, ..., o)``."""
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    out: Tensor = Products.apply(rows, w, b)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], w.shape[1])


@lowers(F.linear)
def linear(members: Members, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """Linear layers of all members as one batched product."""
    if not members.stacked(weight) or weight.ndim != 2 or not members.known(input, bias) or input.dtype != weight.dtype:
        return NotImplemented
    b = None if bias is None else members.bare(bias)
    return members.hide(products(members.bare(input), members.bare(weight), b))
