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


class Sent:
    """Which entries of a vector go over the wire.

    Args:
        vectors: The shapes of the parameters.
        at_home: Names of those that do not.
    """

    def __init__(self, vectors: Vectors, at_home: frozenset[str]) -> None:
        names = [name for name in vectors.names if name not in at_home]
        self.shapes = [vectors.shapes[name] for name in names]
        self.mask = vectors.mask(names) if at_home else None
        self.size = sum(vectors.places[name].stop - vectors.places[name].start for name in names)
        self.bytes = HEAD.size + self.size * vectors.dtype.itemsize
        """Of all of them as they are."""

    def of(self, x: Tensor) -> Tensor:
        """What goes of vectors ``(..., D)``."""
        return x if self.mask is None else x[..., self.mask]

    def beside(self, x: Tensor, arrived: Tensor) -> Tensor:
        """What arrived, and beside it what stayed at home."""
        if self.mask is None:
            return arrived
        whole = x.clone()
        whole[..., self.mask] = arrived
        return whole


class Uplink:
    """Clients' updates on their way to the server.

    With a codec that is not unbiased each client keeps the rest that was not sent, and adds it to what it sends next;
    while it is away the rest fades by a factor each round.

    Args:
        codec: How; None: as they are, 4 or 8 bytes a number.
        sent: Which entries go.
        rest: Where rests are kept; None where nothing is lost.
        fade: What is left of a rest after a round away.
    """

    def __init__(self, codec: Codec | None, sent: Sent, rest: Store | None, fade: float, seed: int) -> None:
        self.codec, self.sent, self.rest, self.fade, self.seed = codec, sent, rest, fade, seed

    def send(self, clients: Sequence[int], deltas: Tensor, turn: int, away: Sequence[int]) -> tuple[Tensor, int]:
        """What arrives, and in how many bytes; ``away``: rounds since each client was last there."""
        if self.codec is None:
            return deltas, len(clients) * self.sent.bytes
        wanted = self.sent.of(deltas)
        if self.rest is not None:
            left = torch.tensor([self.fade ** max(0, n - 1) for n in away], dtype=torch.float64)
            wanted = wanted + left[:, None] * self.rest.read(clients)
        arrived, total = torch.empty_like(wanted), 0
        for place, client in enumerate(clients):
            key = mix(self.seed, "wire", turn) if self.codec.linear else mix(self.seed, "wire", client, turn)
            if not bool(wanted[place].isfinite().all()):
                arrived[place] = wanted[place]  # it is sent, and rejected where it arrives
                continue
            message = self.codec.encode(wanted[place], key, self.sent.shapes)
            arrived[place] = self.codec.decode(message, key, self.sent.shapes)
            total += len(message)
        if self.rest is not None:
            rest = wanted - arrived
            self.rest.write(clients, torch.where(rest.isfinite(), rest, 0.0))
        return self.sent.beside(deltas, arrived), total


class Downlink:
    """The global weights on their way to the clients: what has changed since the last round, or all of them.

    A client that was away needs every message since it was there, or all weights, whichever is less; it is counted so.
    Nothing need be remembered but what the clients have: what was not sent is part of the next difference.
    """

    def __init__(self, codec: Codec | None, sent: Sent, seed: int) -> None:
        self.codec, self.sent, self.seed = codec, sent, seed
        self.known: Tensor | None = None
        self.sizes: list[int] = []
        """Bytes of each round's message."""

    def send(self, w: Tensor, turn: int, last: Sequence[int]) -> tuple[Tensor, int]:
        """The weights as clients have them, and the bytes for all; ``last``: the round each was last there, or -1."""
        whole = self.sent.bytes
        if self.codec is None:
            return w, len(last) * whole
        now = self.sent.of(w)
        if self.known is None:
            self.known = now.clone()
            self.sizes.append(whole)
        else:
            key = mix(self.seed, "down", turn)
            message = self.codec.encode(now - self.known, key, self.sent.shapes)
            self.known = self.known + self.codec.decode(message, key, self.sent.shapes)
            self.sizes.append(len(message))
        missed = [whole if t < 0 else min(whole, sum(self.sizes[t + 1 :])) for t in last]
        return self.sent.beside(w, self.known), sum(missed)
