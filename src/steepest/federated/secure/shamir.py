"""Shamir's secret sharing: any ``t`` of the shares give the secret, and fewer tell nothing of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

P = 2**256 + 297
"""The smallest prime above all secrets of 32 bytes."""
BYTES = 33
"""Bytes of a share."""


def shared(
    secret: bytes, points: Sequence[int], threshold: int, below: Callable[[int], int] = secrets.randbelow
) -> dict[int, bytes]:
    """A share for each point: values of a random polynomial that is the secret at zero.

    Args:
        secret: 32 bytes.
        points: Whole numbers from 1, one a holder.
        threshold: How many shares give the secret.
        below: Draws a number below another.

    >>> shares = shared(bytes(31) + b"!", [1, 2, 3, 4], 3)
    >>> recovered({point: shares[point] for point in (4, 1, 3)}, 3)[-1:]
    b'!'
    """
    if len(secret) != 32:
        raise ValueError(f"a secret has 32 bytes; given {len(secret)}.")
    if not 1 <= threshold <= len(points) or len(set(points)) != len(points) or min(points) < 1:
        raise ValueError(f"{threshold} of {len(points)} shares cannot be made; points are different numbers from 1.")
    polynomial = [int.from_bytes(secret, "big"), *(below(P) for _ in range(threshold - 1))]
    found = {}
    for point in points:
        value = 0
        for coefficient in reversed(polynomial):
            value = (value * point + coefficient) % P
        found[point] = value.to_bytes(BYTES, "big")
    return found


def recovered(shares: Mapping[int, bytes], threshold: int) -> bytes | None:
    """The secret from ``threshold`` of the shares; None where what they give is no secret of 32 bytes."""
    if len(shares) < threshold:
        raise ValueError(f"{len(shares)} shares are not enough, {threshold} are needed.")
    points = sorted(shares)[:threshold]
    total = 0
    for i in points:
        above = below = 1
        for j in points:
            if j != i:
                above, below = above * j % P, below * (j - i) % P
        total = (total + int.from_bytes(shares[i], "big") * above * pow(below, -1, P)) % P
    return total.to_bytes(BYTES, "big")[1:] if total < 2**256 else None
