"""What goes over the wire in a round, in bytes, and what the other side has of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steepest.federated.compress import HEAD, Codec
from steepest.federated.store import Store
from steepest.federated.vectors import Vectors
from steepest.tasks.randomness import mix


@dataclass
class Traffic:
    """Bytes so far, all clients together."""

    up: int = 0
    down: int = 0


class Uplink:
    """Clients' updates on their way to the server.

    With a codec that is not unbiased each client keeps the rest that was not sent, and adds it to what it sends next;
    while it is away the rest fades by a factor each round.

    Args:
        codec: How; None: as they are, 4 or 8 bytes a number.
        vectors: The shapes of the parameters.
        rest: Where rests are kept; None where nothing is lost.
        fade: What is left of a rest after a round away.
    """

    def __init__(self, codec: Codec | None, vectors: Vectors, rest: Store | None, fade: float, seed: int) -> None:
        self.codec, self.vectors, self.rest, self.fade, self.seed = codec, vectors, rest, fade, seed
        self.shapes = [vectors.shapes[name] for name in vectors.names]

    def send(self, clients: Sequence[int], deltas: Tensor, turn: int, away: Sequence[int]) -> tuple[Tensor, int]:
        """What arrives, and in how many bytes; ``away``: rounds since each client was last there."""
        if self.codec is None:
            return deltas, len(clients) * (HEAD.size + self.vectors.size * self.vectors.dtype.itemsize)
        wanted = deltas
        if self.rest is not None:
            left = torch.tensor([self.fade ** max(0, n - 1) for n in away], dtype=torch.float64)
            wanted = deltas + left[:, None] * self.rest.read(clients)
        arrived, total = torch.empty_like(wanted), 0
        for place, client in enumerate(clients):
            key = mix(self.seed, "wire", turn) if self.codec.linear else mix(self.seed, "wire", client, turn)
            if not bool(wanted[place].isfinite().all()):
                arrived[place] = wanted[place]  # it is sent, and rejected where it arrives
                continue
            message = self.codec.encode(wanted[place], key, self.shapes)
            arrived[place] = self.codec.decode(message, key, self.shapes)
            total += len(message)
        if self.rest is not None:
            rest = wanted - arrived
            self.rest.write(clients, torch.where(rest.isfinite(), rest, 0.0))
        return arrived, total


class Downlink:
    """The global weights on their way to the clients: what has changed since the last round, or all of them.

    A client that was away needs every message since it was there, or all weights, whichever is less; it is counted so.
    Nothing need be remembered but what the clients have: what was not sent is part of the next difference.
    """

    def __init__(self, codec: Codec | None, vectors: Vectors, seed: int) -> None:
        self.codec, self.vectors, self.seed = codec, vectors, seed
        self.shapes = [vectors.shapes[name] for name in vectors.names]
        self.known: Tensor | None = None
        self.sizes: list[int] = []
        """Bytes of each round's message."""

    @property
    def whole(self) -> int:
        """Bytes of all weights."""
        return HEAD.size + self.vectors.size * self.vectors.dtype.itemsize

    def send(self, w: Tensor, turn: int, last: Sequence[int]) -> tuple[Tensor, int]:
        """The weights as clients have them, and the bytes for all; ``last``: the round each was last there, or -1."""
        if self.codec is None:
            return w, len(last) * self.whole
        if self.known is None:
            self.known = w.clone()
            self.sizes.append(self.whole)
        else:
            key = mix(self.seed, "down", turn)
            message = self.codec.encode(w - self.known, key, self.shapes)
            self.known = self.known + self.codec.decode(message, key, self.shapes)
            self.sizes.append(len(message))
        missed = [self.whole if t < 0 else min(self.whole, sum(self.sizes[t + 1 :])) for t in last]
        return self.known, sum(missed)
