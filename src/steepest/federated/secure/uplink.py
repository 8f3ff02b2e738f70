"""Clients' updates on their way to the server, of which it learns the sum alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.federated.compress import Codec
from steepest.federated.inbox import Rejected
from steepest.federated.secure.crypto import SecureError
from steepest.federated.secure.plan import Secagg
from steepest.federated.secure.protocol import secure_sum
from steepest.federated.secure.ring import Scale
from steepest.federated.store import Store
from steepest.tasks.randomness import mix


@dataclass
class Sum:
    """What the server has after a round.

    Args:
        total: The weighted sum ``(D,)``; zeros where there is none.
        weight: The sum of the weights.
        there: Whose updates are in it.
        up: Bytes that clients sent.
        down: Bytes that the server sent beside the weights.
        rejected: Who was not taken, and why.
        problem: Why there is no sum.
    """

    total: Tensor
    weight: float
    there: list[int]
    up: int
    down: int
    rejected: list[Rejected] = field(default_factory=list)
    problem: str | None = None


class SecureUplink:
    """What clients send is written in whole numbers, masked, and summed.

    Args:
        plan: How sums are taken.
        codec: A linear one, under which the sum of what is sent is what is sent of the sum; None: all numbers.
        shapes: The shapes of the parameters.
        rest: Where is kept what a codec leaves out; None where nothing is.
        fade: What is left of a rest after a round away.
        seed: Of the federation.
        top: The largest weight a client may have; an update counts as its weight over it.
        inwards: Whether numbers are rounded towards zero, so that no update becomes longer.
    """

    def __init__(
        self,
        plan: Secagg,
        codec: Codec | None,
        shapes: Sequence[tuple[int, ...]],
        rest: Store | None,
        fade: float,
        seed: int,
        top: int,
        inwards: bool,
    ) -> None:
        self.plan, self.codec, self.shapes, self.rest, self.fade = plan, codec, shapes, rest, fade
        self.seed, self.top, self.inwards = seed, top, inwards

    def send(
        self, asked: Sequence[int], clients: Sequence[int], rows: Any, weights: Sequence[int], turn: int,
        away: Sequence[int], size: int,
    ) -> Sum:  # fmt: skip
        """The weighted sum of rows.

        Args:
            asked: Who was asked; those that are not among ``clients`` are lost after they have sent shares.
            clients: Who has something to send.
            rows: A vector for each of them.
            weights: A whole number for each.
            turn: The round.
            away: Rounds since each was last there.
            size: Entries of a vector.
        """
        key = mix(self.seed, "wire", turn)
        scale = Scale(self.plan.bits, self.plan.reach, len(asked))
        numbers, rejected, gone = {}, [], dict.fromkeys(set(asked) - set(clients), "numbers")
        length = 1 + len(self._values(np.zeros(size), key))
        for place, client in enumerate(clients):
            try:
                row = rows[place].double()
                if self.rest is not None and row.shape == (size,):
                    row = row + self.fade ** max(0, away[place] - 1) * self.rest.read([client])[0]
                share = weights[place] / self.top
                values = self._values(row.numpy(), key) if row.shape == (size,) else row.numpy()
                found = scale.whole(share * values, inwards=self.inwards)
                own = scale.ring(np.array([weights[place]]))
                if not 0 < weights[place] <= min(self.top, scale.top):
                    raise SecureError(f"weight {weights[place]} is beyond {min(self.top, scale.top)}.")
                numbers[client] = np.concatenate([found, own])
                if self.rest is not None and row.shape == (size,):
                    back = torch.from_numpy(self._back(values, size, key))
                    self.rest.write([client], (row - back)[None])
            except SecureError as error:
                rejected.append(Rejected(client, str(error)))
                gone[client] = "numbers"
        name = f"{self.seed} {turn}".encode()
        done = secure_sum(sorted(asked), numbers, length, self.plan, name, gone)
        rejected += done.rejected
        if done.total is None:
            return Sum(torch.zeros(size, dtype=torch.float64), 0.0, [], done.up, done.down, rejected, done.problem)
        total = self._back(scale.back(done.total[:-1]), size, key)
        weight = float(scale.signed(done.total[-1:])[0]) / self.top
        return Sum(torch.from_numpy(total), weight, done.there, done.up, done.down, rejected)

    def _values(self, row: Any, key: int) -> Any:
        if self.codec is None:
            return row
        return self.codec.project(row, np.random.default_rng(key), self.shapes)

    def _back(self, values: Any, size: int, key: int) -> Any:
        if self.codec is None:
            return values
        return self.codec.expand(values, size, np.random.default_rng(key), self.shapes)
