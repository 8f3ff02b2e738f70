"""A client in a secure sum: what it says at each step, and what it refuses to answer."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

import numpy as np

from steepest.federated.secure.crypto import Ring, SecureError, agreed, opened, pair, sealed, stream
from steepest.federated.secure.graph import neighbours
from steepest.federated.secure.messages import Keys, Mailbox, Masked, Request, Revealed, Roster, Shares
from steepest.federated.secure.plan import Secagg
from steepest.federated.secure.shamir import BYTES, shared


class Client:
    """One client and one sum. Steps are taken in order, each once.

    Args:
        number: Which client, from 0.
        plan: How sums are taken.
        round: What this sum is called; the same for all.
        draw: Random bytes; only tests give others than the system's.
    """

    def __init__(
        self, number: int, plan: Secagg, round: bytes, draw: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self.number, self.plan, self.round, self._draw = number, plan, round, draw
        self.step = "keys"
        self._sealing, self._masking, self._own = draw(32), draw(32), draw(32)
        self.keys = Keys(number, pair(self._sealing), pair(self._masking))

    def _now(self, step: str, then: str) -> None:
        if self.step != step:
            raise self._no(f"is asked for {step} while it is at {self.step}")
        self.step = then

    def _no(self, why: str) -> SecureError:
        return SecureError(f"client {self.number} {why}.")

    def advertise(self) -> Keys:
        """First step: public keys."""
        self._now("keys", "shares")
        return self.keys

    def share(self, roster: Roster) -> Shares:
        """Second step: shares of its two secrets, sealed for its neighbours."""
        if roster.keys.get(self.number) != self.keys:
            raise self._no("is not in the roster with its own keys")
        told = [k for keys in roster.keys.values() for k in (keys.sealing, keys.masking)]
        if len(set(told)) != len(told) or any(keys.client != c for c, keys in roster.keys.items()):
            raise self._no("sees one key twice in the roster")
        self._now("shares", "numbers")
        self._roster = roster.keys
        self.near = neighbours(sorted(roster.keys), self.plan.degree, self.round)[self.number]
        self.needed = self.plan.needed(len(self.near) + 1)
        points = [j + 1 for j in (self.number, *self.near)]
        own, masking = (shared(secret, points, self.needed, self._below) for secret in (self._own, self._masking))
        self._mine = own[self.number + 1]
        out = {}
        for j in self.near:
            out[j] = sealed(self._key(j, self.number, j), own[j + 1] + masking[j + 1], self._about(self.number, j))
        return Shares(self.number, hashlib.sha256(self._own).digest(), out)

    def _below(self, top: int) -> int:
        return int.from_bytes(self._draw(48), "big") % top  # 128 bits longer than the modulus: even to 2^-127

    def _key(self, other: int, sender: int, receiver: int) -> bytes:
        return agreed(self._sealing, self._roster[other].sealing, b"shares" + self._about(sender, receiver))

    def _about(self, sender: int, receiver: int) -> bytes:
        return self.round + sender.to_bytes(8, "big") + receiver.to_bytes(8, "big")

    def mask(self, mailbox: Mailbox, numbers: Ring) -> Masked:
        """Third step: its numbers under a mask of its own and one with each neighbour that has sent shares."""
        strangers = set(mailbox.sealed) - set(self.near)
        if strangers:
            raise self._no(f"got shares from clients that are no neighbours: {sorted(strangers)}")
        if len(mailbox.sealed) + 1 < self.needed:
            raise self._no(f"has {len(mailbox.sealed)} neighbours left, and {self.needed - 1} are needed")
        found: dict[int, tuple[bytes, bytes]] = {}
        for j, data in mailbox.sealed.items():
            text = opened(self._key(j, j, self.number), data, self._about(j, self.number))
            found[j] = text[:BYTES], text[BYTES:]
        self._now("numbers", "reveal")
        self._held = found
        bits = self.plan.bits
        total = numbers + stream(self._own, len(numbers), bits)
        for j in found:
            key = agreed(self._masking, self._roster[j].masking, b"mask" + self.round)
            between = stream(key, len(numbers), bits)
            total = total + between if self.number < j else total - between
        return Masked(self.number, masked(total, bits))

    def reveal(self, request: Request) -> Revealed:
        """Last step: for each neighbour the share of one of its two secrets, and never of both."""
        if self.step != "reveal":
            raise self._no(f"is asked for reveal while it is at {self.step}")
        there, gone = set(request.there), set(request.gone)
        if there & gone:
            raise self._no(f"is asked for both secrets of {sorted(there & gone)}: that would lay open their numbers")
        if there | gone != set(self._held):
            raise self._no("is asked about others than the neighbours that have sent it shares")
        if len(there) + 1 < self.needed:
            raise self._no(f"sees {len(there)} neighbours that stayed, and {self.needed - 1} are needed")
        self.step = "done"
        return Revealed(
            self.number,
            {self.number: self._mine, **{j: self._held[j][0] for j in sorted(there)}},
            {j: self._held[j][1] for j in sorted(gone)},
        )


def masked(total: Ring, bits: int) -> Ring:
    """Numbers modulo a power of two, in the fewest bytes that are sent."""
    low = total & np.uint64(2**bits - 1)
    return low.astype("<u4" if bits <= 32 else "<u8")
