"""Which split a sample belongs to, decided by a hash of its name: the same on every machine, and never two at once."""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Pair: TypeAlias = tuple[Tensor, Tensor]


def fraction(name: str) -> float:
    """BLAKE2b of the name (8 bytes, big end first) as a fraction in [0, 1)."""
    return (int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 11) / 2**53


def split_of(name: str, validation: float = 0.2, test: float = 0.2) -> Literal["train", "validation", "test"]:
    """The split of the sample called ``name``.

    A :func:`fraction` below ``validation`` is validation, the next ``test`` of the line is test, the rest is train.
    A sample keeps its split when others come or go.

    >>> [split_of(f"digits/{i}") for i in range(4)]
    ['test', 'train', 'test', 'test']
    """
    u = fraction(name)
    return "validation" if u < validation else "test" if u < validation + test else "train"


def split_rows(name: str, x: Tensor, y: Tensor) -> tuple[Pair, Pair, Pair]:
    """Rows of ``x`` and ``y`` by the hash split of ``name/row``: about 60 % train, 20 % validation, 20 % test."""
    of = [split_of(f"{name}/{i}") for i in range(len(x))]
    train, validation, test = (
        torch.tensor([i for i, s in enumerate(of) if s == split]) for split in ("train", "validation", "test")
    )
    return (x[train], y[train]), (x[validation], y[validation]), (x[test], y[test])


def standardised(splits: tuple[Pair, Pair, Pair], targets: bool = False) -> tuple[Pair, Pair, Pair]:
    """Columns in float32 with mean 0 and variance 1 on the *training* rows; the targets too, where they are numbers.

    >>> rows = torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1])
    >>> standardised((rows, rows, rows))[1][0].tolist()
    [[-1.0], [1.0]]
    """
    train, validation, test = (
        (_standard(x, splits[0][0]), _standard(y, splits[0][1]) if targets else y) for x, y in splits
    )
    return train, validation, test


def _standard(t: Tensor, train: Tensor) -> Tensor:
    return (t - train.mean(0)).div(train.std(0, correction=0)).to(torch.float32)
