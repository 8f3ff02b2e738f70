"""What the server does with what arrives, before anything is averaged: whatever is malformed is sent back by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rejected:
    """An update that was not taken.

    >>> Rejected(3, "not finite in 1 of 5 entries")
    client 3: not finite in 1 of 5 entries
    """

    client: int
    reason: str

    def __repr__(self) -> str:
        return f"client {self.client}: {self.reason}"


def sort(
    clients: Sequence[int], updates: Tensor | Sequence[Tensor], size: int, expected: Sequence[int] | None = None
) -> tuple[list[int], Tensor, list[Rejected]]:
    """Which updates are sound: their places, the updates ``(n, D)`` in float64, and what was rejected and why.

    An update is one vector of real numbers of the model's length, all finite, from a client that was asked, once.

    Args:
        clients: Who sent each.
        updates: What they sent.
        size: The length that an update has.
        expected: Who was asked; None: whoever sent.
    """
    if isinstance(updates, Tensor) and _plain(clients, updates, size, expected):
        return list(range(len(clients))), updates.double(), []
    bad: dict[int, str] = {}
    seen: set[int] = set()
    asked = None if expected is None else set(expected)
    for place, client in enumerate(clients):
        update = updates[place]
        if asked is not None and client not in asked:
            bad[place] = "was not asked in this round"
        elif client in seen:
            bad[place] = "sent a second update; the first one counts"
        elif not isinstance(update, Tensor) or update.is_complex() or update.dtype == torch.bool:
            bad[place] = f"sent {type(update).__name__}, no vector of real numbers"
        elif update.shape != (size,):
            bad[place] = f"shape {tuple(update.shape)} where the model has ({size},)"
        seen.add(client)
    shaped = [place for place in range(len(clients)) if place not in bad]
    if isinstance(updates, Tensor):
        whole = updates[torch.tensor(shaped, dtype=torch.long)].double() if bad else updates.double()
    else:
        whole = (
            torch.stack([updates[p].double() for p in shaped]) if shaped else torch.empty(0, size, dtype=torch.float64)
        )
    fine = whole.sum(1).isfinite()  # one pass; where a sum is not finite, its entries are looked at
    if not bool(fine.all()):
        fine = whole.isfinite().all(1)
        for place, row, ok in zip(shaped, whole, fine.tolist(), strict=True):
            if not ok:
                bad[place] = f"not finite in {int((~row.isfinite()).sum())} of {size} entries"
        whole = whole[fine]
    kept = [place for place in range(len(clients)) if place not in bad]
    return kept, whole, [Rejected(clients[place], bad[place]) for place in sorted(bad)]


def _plain(clients: Sequence[int], updates: Tensor, size: int, expected: Sequence[int] | None) -> bool:
    """Whether nothing at all is wrong, as nearly always."""
    if updates.shape != (len(clients), size) or not updates.is_floating_point() or len(set(clients)) < len(clients):
        return False
    if expected is not None and not set(clients) <= set(expected):
        return False
    return bool(updates.sum(1).isfinite().all())  # one pass; where a sum is not finite, entries are looked at
