"""Random numbers: each member draws its own, from the stream that it would have alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steepest.fleet.lowering import Members, lowers


def drawn(members: Members, whole: Tensor, draw: Any) -> Tensor:
    """``(K, ...)``, filled by ``draw(member's own tensor, its generator)``."""
    for own, generator in zip(whole, members.generators, strict=True):
        draw(own, generator)
    return whole


def like(x: Tensor, dtype: Any = None, device: Any = None) -> Tensor:
    """A stack laid out as ``x``: in that order torch fills it."""
    return torch.empty_like(x, dtype=dtype, device=device)


def dropped(members: Members, x: Tensor, p: float, channels: bool = False) -> Tensor:
    """Dropout of a stack, as torch does it on a CPU: a mask of 0 and 1 / (1 - p)."""
    mask = drawn(members, x.new_empty(x.shape[:3]) if channels else like(x), _keep(p))
    return x * mask.div_(1 - p)[(..., *[None] * (x.ndim - mask.ndim))]


def _keep(p: float) -> Any:
    return lambda own, generator: own.bernoulli_(1 - p, generator=generator)


@lowers(torch.dropout, torch._VF.dropout, torch.dropout_)
def dropout(members: Members, input: Tensor, p: float, train: bool) -> Any:
    """Dropout."""
    if not train or p in (0, 1) or not members.known(input) or not input.numel():
        return NotImplemented
    return members.hide(dropped(members, members.bare(input), p))


@lowers(torch.feature_dropout, torch._VF.feature_dropout)
def feature_dropout(members: Members, input: Tensor, p: float, train: bool) -> Any:
    """Dropout of whole channels."""
    if not train or p in (0, 1) or not members.known(input) or not input.numel():
        return NotImplemented
    return members.hide(dropped(members, members.bare(input), p, channels=True))


def _like(function: Any, fill: Any) -> None:
    def make(members: Members, input: Tensor, *, dtype: Any = None, device: Any = None, **kwargs: Any) -> Any:
        if kwargs or not members.known(input):
            return NotImplemented
        return members.hide(drawn(members, like(members.bare(input), dtype, device), fill))

    lowers(function)(make)


def _sized(function: Any, fill: Any) -> None:
    def make(members: Members, *size: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Any:
        if kwargs.get("generator") is not None:
            return NotImplemented
        shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        return members.hide(drawn(members, torch.empty((members.count, *shape), dtype=dtype, device=device), fill))

    lowers(function)(make)


def _uniform(own: Tensor, generator: torch.Generator) -> None:
    own.uniform_(generator=generator)


def _normal(own: Tensor, generator: torch.Generator) -> None:
    own.normal_(generator=generator)


_like(torch.rand_like, _uniform)
_like(torch.randn_like, _normal)
_sized(torch.rand, _uniform)
_sized(torch.randn, _normal)
