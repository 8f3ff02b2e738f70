"""Members of a stack that step abreast, and begin anew in each round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.errors import NonFiniteError
from steepest.core.trace import flatten
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
    def begin(self, turn: int, alike: bool) -> None:
        """Forget all steps; the round gives the place in the schedules. ``alike``: all start from the same weights."""
        self.turn = turn
        self.taken[:] = 0
        for part, own in zip(self.parts, self._own, strict=True):
            part.t[:] = 0
            part.own = dict(own)
            for p, state in zip(part.p, part.states, strict=True):
                leaves = flatten(state)
                for row in range(1 if alike else self.members) if leaves else ():
                    for whole, fresh in zip(leaves, flatten(part.chain.init(p[row])), strict=True):
                        (whole if alike else whole[row]).copy_(fresh)
        self.shared = dict(self._shared)

    @property
    def length(self) -> int:
        """How many numbers a member's rules remember."""
        return sum(t[0].numel() for part in self.parts for state in part.states for t in flatten(state))

    @torch.no_grad()
    def give(self, moments: Moments) -> None:
        """Let all members begin with moments."""
        if moments.values is None:
            return
        at = 0
        for part in self.parts:
            part.t[:] = moments.steps
            for state in part.states:
                for whole in flatten(state):
                    n = whole[0].numel()
                    whole.copy_(moments.values[at : at + n].to(whole.dtype).view(whole.shape[1:]))
                    at += n

    def taken_moments(self, rows: slice) -> Tensor:
        """What some members' rules remember, in float64."""
        leaves = [t for part in self.parts for state in part.states for t in flatten(state)]
        many = rows.stop - rows.start
        if not leaves:
            return torch.zeros(many, 0, dtype=torch.float64)
        return torch.cat([t[rows].detach().double().reshape(many, -1) for t in leaves], 1)

    def step(self, gradients: Any, losses: Tensor) -> None:
        self.steps[:] = self.turn
        super().step(gradients, losses)
        self.taken += self.steps - self.turn
        if self.refusals:
            raise NonFiniteError(next(iter(self.refusals.values())))
