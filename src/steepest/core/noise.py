"""Random numbers without a generator: functions of a seed, the step, the tensor and the place of the entry in it.

There is no state to save, so a resumed run draws what it would have drawn, in any order of calls and on any device.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch as _f

WORD = 0xFFFFFFFF
BLOCK = 1 << 15
"""Pairs of entries that are drawn at once: what is in between stays in a core's cache."""
TABLES = 64
"""Blocks whose stirred places are remembered, 128 KiB each: those of tensors of up to four million entries."""

Words = np.ndarray[Any, np.dtype[np.uint32]]


def mix(x: Any) -> Any:
    """Stir 32 bits until each depends on all; for whole numbers and for int64 tensors.

    Three xor-shifts and two multiplications with the constants that Wellons's hash prospector found best
    (github.com/skeeto/hash-prospector, bias 0.107); both are below 2**31, so that no product leaves 63 bits.

    >>> mix(1), mix(2)
    (2261973619, 229111015)
    """
    x = (x ^ (x >> 16)) * 0x21F0AAAD & WORD
    x = (x ^ (x >> 15)) * 0x735A2D97 & WORD
    return x ^ (x >> 15)


def stir(x: Words) -> Words:
    """:func:`mix` of whole 32-bit words, in place: half the memory and none of the masks.

    >>> stir(np.array([1, 2], dtype=np.uint32)).tolist()
    [2261973619, 229111015]
    """
    shifted = np.empty_like(x)
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        np.right_shift(x, shift, out=shifted)
        np.bitwise_xor(x, shifted, out=x)
        np.multiply(x, np.uint32(factor), out=x)
    np.right_shift(x, 15, out=shifted)
    return np.bitwise_xor(x, shifted, out=x)


def normal(like: Tensor, *keys: Any) -> Tensor:
    """Standard normal numbers in the shape of ``like``, by Box and Muller's method.

    Args:
        like: For shape and device; the numbers are float64 if it is, else float32.
        keys: Whole numbers below 2**24 (which float32 holds), or 0-d tensors of them.

    >>> normal(torch.zeros(3, dtype=torch.float64), 0, 1)
    tensor([-0.5911, -1.4062,  0.4475], dtype=torch.float64)
    """
    return _drawn(like, 1, keys).reshape(like.shape)


def normals(like: Tensor, *keys: Any) -> Tensor:
    """:func:`normal` for each of a stack of tensors, where a key may be a column: a value for each.

    >>> like = torch.zeros(2, 3, dtype=torch.float64)
    >>> torch.equal(normals(like, 0, torch.tensor([5.0, 1.0]))[1], normal(like[1], 0, 1))
    True
    """
    return _drawn(like, len(like), keys).reshape(like.shape)


def _drawn(like: Tensor, rows: int, keys: tuple[Any, ...]) -> Tensor:
    """One row after the other, each as its keys have it."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    if not like.numel():
        return torch.zeros_like(like, dtype=dtype)
    n = like.numel() // rows
    both = _key(*keys, 1), _key(*keys, 2)
    if like.device.type == "cpu" and _f.maybe_current_level() is None:  # vmap and functionalize see torch's calls alone
        words = [np.asarray(k.numpy() if isinstance(k, Tensor) else k).astype(np.uint32) for k in both]
        return _by_words(rows, n, dtype, [np.broadcast_to(k, rows) for k in words])
    first, second = (k.to(like.device).reshape(-1, 1) if isinstance(k, Tensor) else k for k in both)
    parts = []
    pairs = (n + 1) // 2
    for start in range(0, pairs, BLOCK):
        place = mix(torch.arange(start, min(start + BLOCK, pairs), device=like.device) + 1 & WORD)
        u, v = ((mix(place ^ key).to(dtype) + 0.5) / 2**32 for key in (first, second))
        r, angle = (-2 * u.log()).sqrt(), 2 * math.pi * v
        parts.append(torch.cat((r * angle.cos(), r * angle.sin()), -1))
    return torch.cat(parts, -1)[..., :n].expand(rows, n)


@torch.no_grad()
def _by_words(rows: int, n: int, dtype: torch.dtype, keys: list[Words]) -> Tensor:
    """The same in the processor's own words, as many rows at once as a block holds."""
    out = torch.empty(rows, n, dtype=dtype)
    pairs = (n + 1) // 2
    many = max(1, BLOCK // pairs)
    for row in range(0, rows, many):
        for start in range(0, pairs, BLOCK):
            place = _places(start)[: pairs - start]
            m = len(place)
            u, v = (_uniform(place ^ key[row : row + many, None], dtype) for key in keys)
            r, angle = u.log_().mul_(-2).sqrt_(), v.mul_(2 * math.pi)
            some = out[row : row + many, 2 * start : 2 * (start + m)]
            torch.mul(r, angle.cos(), out=some[:, :m])
            last = some[:, m:]
            torch.mul(r[:, : last.shape[1]], angle.sin_()[:, : last.shape[1]], out=last)
    return out


def _uniform(x: Words, dtype: torch.dtype) -> Tensor:
    """Words as numbers between 0 and 1, which are stirred for it."""
    u: Any = stir(x).astype(np.float64 if dtype == torch.float64 else np.float32)
    np.add(u, 0.5, out=u)
    return torch.from_numpy(np.multiply(u, 2**-32, out=u))


@lru_cache(maxsize=TABLES)
def _places(start: int) -> Words:
    """A block of places, stirred: the same for all tensors and all steps."""
    return stir(np.arange(start + 1, start + 1 + BLOCK, dtype=np.uint32))


def _key(*keys: Any) -> Any:
    key: Any = 0x9E3779B9
    for k in keys:
        key = mix(key + 0x632BE5AB & WORD) ^ mix((k.to(torch.int64) if isinstance(k, Tensor) else int(k)) & WORD)
    return mix(key)
