"""A whole secure sum in one process: every message is made, counted and read by the other side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steepest.federated.inbox import Rejected
from steepest.federated.secure.client import Client
from steepest.federated.secure.crypto import Ring, SecureError
from steepest.federated.secure.messages import Message
from steepest.federated.secure.plan import Secagg
from steepest.federated.secure.server import Server


@dataclass
class Summed:
    """How a secure sum ended.

    Args:
        total: The sum; None where there is none.
        there: Whose numbers are in it.
        up: Bytes that clients sent.
        down: Bytes that the server sent.
        rejected: Messages that did not fit, by client.
        problem: Why there is no sum.
    """

    total: Ring | None = None
    there: list[int] = field(default_factory=list)
    up: int = 0
    down: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    problem: str | None = None


def secure_sum(
    clients: Sequence[int],
    numbers: Mapping[int, Ring],
    size: int,
    plan: Secagg,
    round: bytes,
    gone: Mapping[int, str] | None = None,
) -> Summed:
    """Sum what clients have, in secret.

    Args:
        clients: Who was asked.
        numbers: What each has, for those that come so far.
        size: How many numbers.
        plan: How.
        round: What this sum is called.
        gone: The step at which a client is lost: ``"keys"``, ``"shares"``, ``"numbers"`` or ``"reveal"``; it sends
            nothing from there on.
    """
    out = Summed()
    lost = dict(gone or {})
    server = Server(clients, size, plan, round)
    people = {number: Client(number, plan, round) for number in clients}

    def sent(client: int, receive: object, message: Message) -> None:
        out.up += message.size
        try:
            receive(message)  # type: ignore[operator]
        except SecureError as error:
            out.rejected.append(Rejected(client, str(error)))

    def told(message: Message) -> None:
        out.down += message.size

    def here(step: str) -> list[int]:
        found = [client for client in people if lost.get(client) != step]
        for client in [c for c in people if c not in found]:
            del people[client]
        return found

    try:
        for client in here("keys"):
            sent(client, server.receive_keys, people[client].advertise())
        roster = server.roster()
        for client in here("shares"):
            told(roster)
            sent(client, server.receive_shares, people[client].share(roster))
        mailboxes = server.mailboxes()
        for client in here("numbers"):
            if client in mailboxes:
                told(mailboxes[client])
                sent(client, server.receive_numbers, people[client].mask(mailboxes[client], numbers[client]))
        requests = server.requests()
        for client in here("reveal"):
            if client in requests:
                told(requests[client])
                sent(client, server.receive_revealed, people[client].reveal(requests[client]))
        out.total = server.sum()
        out.there = sorted(server.numbers)
    except SecureError as error:
        out.problem = str(error)
    return out
