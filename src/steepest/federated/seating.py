"""Who sits where in a stack, and when: as soon as a client is done, the next one takes its seat."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]

OVERHEAD = 3_000_000
"""What a pass of any stack costs beside its arithmetic, in parameters times rows: measured on one core."""


class Change(NamedTuple):
    """Seats, and the clients that come to them or leave them, by their places in the work."""

    seats: Tensor
    clients: Tensor


@dataclass(frozen=True)
class Seating:
    """The passes of a stack.

    Args:
        who: ``(passes, seats)``: the client of each seat, by its place in the work.
        step: ``(passes, seats)``: which of its steps it takes.
        live: ``(passes, seats)``: whether that counts. A seat for which nobody is left repeats the client with the most
            steps, so that it never meets numbers that a client would not.
    """

    who: Tensor
    step: Tensor
    live: Tensor

    @cached_property
    def comes(self) -> list[Change | None]:
        """Who takes a seat before each pass."""
        return self._changes(self.step == 0)

    @cached_property
    def goes(self) -> list[Change | None]:
        """Who is done after each pass."""
        last = torch.ones_like(self.live)
        last[:-1] = (self.step[1:] == 0) | ~self.live[1:]
        return self._changes(self.live & last)

    def _changes(self, found: Tensor) -> list[Change | None]:
        seats = [torch.nonzero(row).flatten() for row in found]
        return [Change(s, w[s]) if len(s) else None for s, w in zip(seats, self.who, strict=True)]


def seated(lengths: Sequence[int], seats: int) -> Seating:
    """Clients in the order of their steps, the longest first, each in the seat that is free first.

    Args:
        lengths: Steps of each client, 1 at least.
        seats: How many stand in a stack.

    >>> plan = seated([1, 3, 1, 2], 2)
    >>> plan.who.tolist(), plan.step.tolist(), bool(plan.live.all())
    ([[1, 3], [1, 3], [1, 0], [2, 1]], [[0, 0], [1, 1], [2, 0], [0, 0]], False)
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    free = [(0, seat) for seat in range(seats)]
    taken = []
    for client in order:
        begin, seat = free[0]
        heapq.heapreplace(free, (begin + lengths[client], seat))
        taken.append((client, begin, seat))
    passes, longest = max(end for end, _ in free), order[0]
    begun = np.empty(seats, dtype=np.int64)
    begun[[seat for _, seat in free]] = [end for end, _ in free]
    live = np.arange(passes)[:, None] < begun
    step = (np.arange(passes)[:, None] - begun) % lengths[longest]
    who = np.full((passes, seats), longest)
    for client, begin, seat in taken:
        end = begin + lengths[client]
        who[begin:end, seat], step[begin:end, seat] = client, np.arange(end - begin)
    return Seating(torch.from_numpy(who), torch.from_numpy(step), torch.from_numpy(live))


def best_seats(lengths: Sequence[int], many: int, most: int, work: int) -> int:
    """How many seats a stack best has: few passes, or little arithmetic in each.

    Args:
        lengths: Steps of each client; those that are sampled have about the same shares of them.
        many: How many are trained in a round.
        most: How many seats there may be.
        work: Parameters times rows of one client's step.

    >>> best_seats([9] * 10 + [1] * 90, 100, 128, 40_000), best_seats([3] * 100, 100, 128, 40_000)
    (20, 100)
    """
    most = min(most, many)
    if not lengths:
        return most
    every = sorted(lengths)
    own = [every[i * len(every) // many] for i in range(many)]
    longest, total = own[-1], sum(own)
    return min(range(1, most + 1), key=lambda n: max(longest, -(-total // n)) * (OVERHEAD + n * work))
