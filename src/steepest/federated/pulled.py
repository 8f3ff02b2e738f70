"""What a method makes of its clients' steps, in a stack: each seat has that of the client who sits there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from steepest.federated.local import Pull
from steepest.federated.seating import Change
from steepest.federated.vectors import Vectors
from steepest.fleet.stack import Stack

Gradients = Mapping[str, Tensor | None]


class Pulled:
    """A :class:`~steepest.federated.local.Pull` on stacked gradients and steps.

    Args:
        pull: What is added.
        start: What clients start from.
        stack: Whose gradients these are.
        vectors: Where parameters lie in a vector.
        room: Memory by name, for gradients that are written anew at each step.
    """

    def __init__(self, pull: Pull, start: Tensor, stack: Stack, vectors: Vectors, room: dict[str, Tensor]) -> None:
        self.pull, self.stack, self.vectors, self.room = pull, stack, vectors, room
        self.anchor = start if pull.anchor is None else pull.anchor
        shape = len(stack), vectors.size
        self._constant = None if pull.constant is None else torch.empty(shape, dtype=vectors.dtype)
        self._at: Tensor | None = None
        if pull.mu:
            alike = self.anchor.ndim == 1
            self._at = self.anchor.to(vectors.dtype) if alike else torch.empty(shape, dtype=vectors.dtype)
        self.constant = None if self._constant is None else vectors.views(self._constant)
        self.at = None if self._at is None else vectors.views(self._at)
        self.along = None if pull.along is None else vectors.views(pull.along.to(vectors.dtype))
        self.past: dict[str, Tensor] = {}

    def seat(self, change: Change) -> None:
        """Somebody else sits down."""
        seats, clients = change
        if self._constant is not None and self.pull.constant is not None:
            self._constant[seats] = self.pull.constant[clients].to(self.vectors.dtype)
        if self._at is not None and self._at.ndim == 2:
            self._at[seats] = self.anchor[clients].to(self.vectors.dtype)

    def gradients(self, given: Gradients) -> Gradients:
        """The gradients with what the method makes of them."""
        if self.constant is not None or self.at is not None:
            given = self._moved(given)
        if self.pull.frozen:
            given = {name: None if name in self.pull.frozen else g for name, g in given.items()}
        return given

    def _moved(self, given: Gradients) -> Gradients:
        found: dict[str, Tensor | None] = {}
        for name in self.vectors.names:
            p, g = self.stack.params[name].detach(), given.get(name)
            if name not in self.room:
                self.room[name] = torch.empty_like(p)
            out = self.room[name]
            if self.at is not None:
                torch.sub(p, self.at[name], out=out).mul_(self.pull.mu)
                if self.constant is not None:
                    out.add_(self.constant[name])
            elif self.constant is not None:
                out.copy_(self.constant[name])
            found[name] = out if g is None else out.add_(g)
        return found

    def before(self) -> None:
        """A step is about to be taken."""
        if self.along is not None:
            self.past = {name: p.detach().clone() for name, p in self.stack.params.items()}

    def after(self) -> None:
        """It was taken: part of it goes along a direction that all clients share."""
        for name, d in (self.along or {}).items():
            p, past = self.stack.params[name], self.past[name]
            p.sub_(past).mul_(1 - self.pull.share).add_(past).add_(d)
