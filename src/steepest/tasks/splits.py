"""Which split a sample belongs to, decided by a hash of its name: the same on every machine, and never two at once."""

from __future__ import annotations

import hashlib
from typing import Literal


def split_of(name: str, validation: float = 0.2, test: float = 0.2) -> Literal["train", "validation", "test"]:
    """The split of the sample called ``name``: BLAKE2b of the name, read as a fraction in [0, 1).

    A fraction below ``validation`` is validation, the next ``test`` of the line is test, the rest is train. A sample
    keeps its split when others come or go.

    Source: any fixed hash does; BLAKE2b is RFC 7693, with a digest of 8 bytes.

    >>> [split_of(f"digits/{i}") for i in range(4)]
    ['test', 'train', 'test', 'test']
    """
    u = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") / 2**64
    return "validation" if u < validation else "test" if u < validation + test else "train"
