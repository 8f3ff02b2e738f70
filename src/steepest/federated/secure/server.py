"""The server of a secure sum: it passes messages on, and learns the sum of those that stayed, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence

import numpy as np

from steepest.federated.secure.crypto import Ring, SecureError, agreed, pair, stream
from steepest.federated.secure.graph import neighbours
from steepest.federated.secure.messages import Keys, Mailbox, Masked, Request, Revealed, Roster, Shares
from steepest.federated.secure.plan import Secagg
from steepest.federated.secure.shamir import BYTES, recovered

STEPS = ("keys", "shares", "numbers", "reveal", "done")


class Server:
    """One sum. A message that does not fit raises an error that names its sender, and changes nothing.

    Args:
        clients: Who was asked.
        size: How many numbers each sends.
        plan: How sums are taken.
        round: What this sum is called.
    """

    def __init__(self, clients: Sequence[int], size: int, plan: Secagg, round: bytes) -> None:
        self.asked, self.size, self.plan, self.round = set(clients), size, plan, round
        self.step = "keys"
        self.keys: dict[int, Keys] = {}
        self.shares: dict[int, Shares] = {}
        self.numbers: dict[int, Ring] = {}
        self.revealed: dict[int, Revealed] = {}
        self.near: dict[int, list[int]] = {}

    # -------------------------------------------------------------------------------------------------------- receiving

    def _from(self, client: int, step: str, known: Container[int], had: Container[int]) -> None:
        if self.step != step:
            raise SecureError(f"client {client} sends {step} while the sum is at {self.step}.")
        if client not in known:
            raise SecureError(f"client {client} is not part of this sum at step {step}.")
        if client in had:
            raise SecureError(f"client {client} sends {step} twice; the first counts.")

    def receive_keys(self, message: Keys) -> None:
        """First step."""
        self._from(message.client, "keys", self.asked, self.keys)
        fresh = (message.sealing, message.masking)
        known = {k for keys in self.keys.values() for k in (keys.sealing, keys.masking)}
        if any(len(k) != 32 for k in fresh) or len({*fresh, *known}) != 2 + len(known):
            raise SecureError(f"client {message.client} sends keys that are none, or somebody else's.")
        self.keys[message.client] = message

    def receive_shares(self, message: Shares) -> None:
        """Second step."""
        client = message.client
        self._from(client, "shares", self.keys, self.shares)
        if sorted(message.sealed) != self.near[client]:
            raise SecureError(f"client {client} sends shares to others than its neighbours.")
        self.shares[client] = message

    def receive_numbers(self, message: Masked) -> None:
        """Third step."""
        client, numbers = message.client, message.numbers
        self._from(client, "numbers", self.shares, self.numbers)
        if not isinstance(numbers, np.ndarray) or numbers.shape != (self.size,) or numbers.dtype.kind != "u":
            raise SecureError(f"client {client} sends numbers of another shape or kind than {self.size} of the ring.")
        wide = numbers.astype(np.uint64)
        if bool((wide >> np.uint64(self.plan.bits)).any()):
            raise SecureError(f"client {client} sends numbers beyond {self.plan.bits} bits.")
        self.numbers[client] = wide

    def receive_revealed(self, message: Revealed) -> None:
        """Last step."""
        client = message.client
        self._from(client, "reveal", self.numbers, self.revealed)
        wanted = self.request(client)
        if sorted(message.own) != sorted([client, *wanted.there]) or sorted(message.keys) != wanted.gone:
            raise SecureError(f"client {client} reveals other shares than those it was asked for.")
        if any(len(share) != BYTES for share in (*message.own.values(), *message.keys.values())):
            raise SecureError(f"client {client} reveals shares of another length.")
        self.revealed[client] = message

    # ------------------------------------------------------------------------------------------------------- going on

    def roster(self) -> Roster:
        """Whoever sent keys is in; on to shares."""
        self._close("keys", len(self.keys), 3)
        self.near = neighbours(sorted(self.keys), self.plan.degree, self.round)
        return Roster(dict(sorted(self.keys.items())))

    def mailboxes(self) -> dict[int, Mailbox]:
        """Whoever sent shares goes on; what each got from its neighbours."""
        self._close("shares", len(self.shares), 3)
        return {
            client: Mailbox({j: self.shares[j].sealed[client] for j in self.near[client] if j in self.shares})
            for client in sorted(self.shares)
        }

    def requests(self) -> dict[int, Request]:
        """Whoever sent numbers is in the sum; what each is asked for."""
        least = max(self.plan.needed(len(near) + 1) for near in self.near.values())
        self._close("numbers", len(self.numbers), least)
        return {client: self.request(client) for client in sorted(self.numbers)}

    def request(self, client: int) -> Request:
        """What one client is asked for."""
        near = [j for j in self.near[client] if j in self.shares]
        return Request([j for j in near if j in self.numbers], [j for j in near if j not in self.numbers])

    def _close(self, step: str, have: int, least: int) -> None:
        if self.step != step:
            raise SecureError(f"the sum is at {self.step}, not at {step}.")
        if have < least:
            raise SecureError(
                f"{have} of {len(self.asked)} clients are left after {step}, and {least} are needed: there is no sum."
            )
        self.step = STEPS[STEPS.index(step) + 1]

    # -------------------------------------------------------------------------------------------------------- the sum

    def sum(self) -> Ring:
        """The sum of the numbers of all that sent some.

        Raises:
            SecureError: Too few shares came back, or shares do not fit what they are of.
        """
        if self.step != "reveal":
            raise SecureError(f"the sum is at {self.step}, not at reveal.")
        bits, top = self.plan.bits, np.uint64(2**self.plan.bits - 1)
        total = np.zeros(self.size, dtype=np.uint64)
        for numbers in self.numbers.values():
            total += numbers
        for client in self.numbers:
            key = self._secret(client, "own")
            if hashlib.sha256(key).digest() != self.shares[client].hashed:
                raise SecureError(f"the shares of client {client}'s own mask do not fit what it announced.")
            total -= stream(key, self.size, bits)
        for client in sorted(set(self.shares) - set(self.numbers)):
            near = [j for j in self.near[client] if j in self.numbers]
            if not near:
                continue
            key = self._secret(client, "keys")
            if pair(key) != self.keys[client].masking:
                raise SecureError(f"the shares of client {client}'s masking key do not fit its public key.")
            for j in near:
                between = stream(agreed(key, self.keys[j].masking, b"mask" + self.round), self.size, bits)
                total = total - between if j < client else total + between
        self.step = "done"
        return total & top

    def _secret(self, client: int, which: str) -> bytes:
        holders = [j for j in (client, *self.near[client]) if j in self.revealed]
        held = {j: getattr(self.revealed[j], which) for j in holders}
        shares = {j + 1: own[client] for j, own in held.items() if client in own}
        needed = self.plan.needed(len(self.near[client]) + 1)
        if len(shares) < needed:
            raise SecureError(
                f"{len(shares)} shares of client {client} came back at the end, and {needed} are needed: "
                "there is no sum."
            )
        found = recovered(shares, needed)
        if found is None:
            raise SecureError(f"the shares of client {client} give no secret.")
        return found
