"""What clients and server say to each other in a secure sum, and how long it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from steepest.federated.secure.crypto import Ring

FRAME = 4
"""Bytes in front of every field, number and entry of a list."""


@dataclass(frozen=True)
class Message:
    """Something that is sent."""

    @property
    def size(self) -> int:
        """Its length in bytes, framing counted."""
        return sum(_size(getattr(self, f.name)) for f in fields(self))


def _size(value: Any) -> int:
    if isinstance(value, Message):
        return value.size
    if isinstance(value, bytes):
        return FRAME + len(value)
    if isinstance(value, np.ndarray):
        return FRAME + value.nbytes
    if isinstance(value, dict):
        return FRAME + sum(FRAME + _size(v) for v in value.values())
    if isinstance(value, Iterable):
        return FRAME + sum(_size(v) for v in value)
    return FRAME


@dataclass(frozen=True)
class Keys(Message):
    """A client's two public keys: for sealing what it sends to others, and for masks."""

    client: int
    sealing: bytes
    masking: bytes


@dataclass(frozen=True)
class Roster(Message):
    """Everybody's keys, from the server."""

    keys: dict[int, Keys]


@dataclass(frozen=True)
class Shares(Message):
    """A client's sealed shares for its neighbours, and what its own mask's key hashes to."""

    client: int
    hashed: bytes
    sealed: dict[int, bytes]


@dataclass(frozen=True)
class Mailbox(Message):
    """What neighbours sealed for a client, by sender."""

    sealed: dict[int, bytes]


@dataclass(frozen=True)
class Masked(Message):
    """A client's numbers under all its masks, in as many bytes as the modulus needs."""

    client: int
    numbers: Ring


@dataclass(frozen=True)
class Request(Message):
    """Of which neighbours the server has the numbers, and of which it has none."""

    there: list[int]
    gone: list[int]


@dataclass(frozen=True)
class Revealed(Message):
    """A client's shares: of the own masks of those that are there, of the masking keys of those that are gone."""

    client: int
    own: dict[int, bytes]
    keys: dict[int, bytes]
