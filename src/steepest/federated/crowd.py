"""Members of a stack that step abreast, and begin anew in each round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.errors import NonFiniteError
from steepest.core.trace import flatten, rebuild
from steepest.federated.moments import Moments
from steepest.fleet.abreast import Abreast
from steepest.fleet.stack import Stack


@dataclass
class Seat:
    """A place in the stack, which another client takes each round."""

    number: int
    run: Any
    squad: Any = None


class Crowd(Abreast):
    """Members that step abreast, and can begin anew."""

    def __init__(self, seats: Any, stack: Stack) -> None:
        super().__init__(seats, stack, 0)
        self._own = [dict(part.own) for part in self.parts]
        self._shared = dict(self.shared)
        self.turn = 0
        self.taken = np.zeros(self.members, dtype=np.int64)

    @torch.no_grad()
    def begin(self, turn: int, alike: bool, seats: Tensor) -> None:
        """Forget all steps of some seats; the round gives the place in the schedules.

        Args:
            turn: The round.
            alike: Whether all start from the same weights.
            seats: Which; their weights are there already.
        """
        self.turn = turn
        rows = seats.numpy()
        self.taken[rows] = 0
        for part in self.parts:
            part.t[rows] = 0
            for p, state in zip(part.p, part.states, strict=True):
                leaves = flatten(state)
                for some in ((seats,) if alike else seats[:, None]) if leaves else ():
                    for whole, fresh in zip(leaves, flatten(part.chain.init(p[some[0]])), strict=True):
                        whole[some] = fresh
        for part, own in zip(self.parts, self._own, strict=True):
            part.own = {i: _renewed(past, own[i], seats) for i, past in part.own.items()}
        self.shared = {key: _renewed(past, self._shared[key], seats) for key, past in self.shared.items()}

    @property
    def length(self) -> int:
        """How many numbers a member's rules remember."""
        return sum(t[0].numel() for part in self.parts for state in part.states for t in flatten(state))

    @torch.no_grad()
    def give(self, moments: Moments, seats: Tensor) -> None:
        """Let some members begin with moments."""
        if moments.values is None:
            return
        at = 0
        for part in self.parts:
            part.t[seats.numpy()] = moments.steps
            for state in part.states:
                for whole in flatten(state):
                    n = whole[0].numel()
                    whole[seats] = moments.values[at : at + n].to(whole.dtype).view(whole.shape[1:])
                    at += n

    def moments(self, seats: Tensor) -> Tensor:
        """What some members' rules remember, in float64."""
        leaves = [t for part in self.parts for state in part.states for t in flatten(state)]
        if not leaves:
            return torch.zeros(len(seats), 0, dtype=torch.float64)
        return torch.cat([t[seats].detach().double().reshape(len(seats), -1) for t in leaves], 1)

    def step(self, gradients: Any, losses: Tensor) -> None:
        self.steps[:] = self.turn
        super().step(gradients, losses)
        self.taken += self.steps - self.turn
        if self.refusals:
            raise NonFiniteError(next(iter(self.refusals.values())))


def _renewed(past: Any, first: Any, seats: Tensor) -> Any:
    """A memory of all members, some of it as it was at first."""
    leaves = []
    for now, begin in zip(flatten(past), flatten(first), strict=True):
        whole = now.clone()
        whole[seats] = begin[seats]
        leaves.append(whole)
    return rebuild(past, leaves)
