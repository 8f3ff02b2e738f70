"""Who shares a mask with whom: everybody, or a few on each side of a circle in random order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

ALL = 100
"""Up to so many clients everybody has a mask with everybody; beyond, each with so many, as many as there may be."""


def neighbours(clients: Sequence[int], degree: int, round: bytes) -> dict[int, list[int]]:
    """The neighbours of each client: all others, or ``degree`` of them.

    Args:
        clients: Their numbers.
        degree: How many each has, even; 0: all others, up to :data:`ALL`.
        round: What this sum is called, from which the order on the circle follows.

    >>> {client: len(near) for client, near in neighbours(range(7), 4, b"").items()}
    {0: 4, 1: 4, 2: 4, 3: 4, 4: 4, 5: 4, 6: 4}
    """
    wanted = degree or ALL
    if wanted >= len(clients) - 1:
        return {client: [other for other in clients if other != client] for client in clients}
    circle = sorted(clients, key=lambda c: hashlib.sha256(round + c.to_bytes(8, "big")).digest())
    half = -(-wanted // 2)
    found = {}
    for place, client in enumerate(circle):
        near = {circle[(place + step) % len(circle)] for step in range(-half, half + 1)}
        found[client] = sorted(near - {client})
    return dict(sorted(found.items()))
