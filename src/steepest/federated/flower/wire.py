"""What goes between server and nodes: a round's work for some clients, and what they come back with, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.federated.clients import Work
from steepest.federated.errors import FederationError
from steepest.federated.local import Found, Pull

Arrays = dict[str, np.ndarray[Any, Any]]
BUFFER = "buffer "


@dataclass
class Job:
    """What some clients are to do: the arguments of an engine's ``train``."""

    work: Work
    turn: int
    start: Tensor
    buffers: dict[str, Tensor]
    pull: Pull

    def of(self, places: Sequence[int]) -> Job:
        """That of some of the clients."""
        rows = torch.as_tensor(places, dtype=torch.long)
        start = self.start if self.start.ndim == 1 else self.start[rows]
        buffers = self.buffers if self.start.ndim == 1 else {n: b[rows] for n, b in self.buffers.items()}
        return Job(self.work.of(rows), self.turn, start, buffers, self.pull.of(rows))

    def packed(self) -> tuple[Arrays, dict[str, Any]]:
        """As arrays and plain values."""
        pull = self.pull
        for name in ("lesson", "moments"):
            if getattr(pull, name, None) is not None:
                raise FederationError(
                    f"a method that gives its clients a {name.rstrip('s')} runs in the simulation only: "
                    "it is no array that could be sent."
                )
        arrays = {
            "clients": self.work.clients,
            "rows": self.work.rows.numpy(),
            "counts": self.work.counts.numpy(),
            "start": self.start.numpy(),
        }
        arrays |= {BUFFER + name: b.numpy() for name, b in self.buffers.items()}
        for name in ("constant", "anchor", "along"):
            if (value := getattr(pull, name)) is not None:
                arrays[name] = value.numpy()
        return arrays, {"turn": self.turn, "mu": pull.mu, "share": pull.share, "frozen": sorted(pull.frozen)}

    @classmethod
    def unpacked(cls, arrays: Mapping[str, Any], values: Mapping[str, Any]) -> Job:
        """What :meth:`packed` made."""
        held = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
        pull = Pull(
            held.get("constant"), float(values["mu"]), held.get("anchor"), frozenset(values["frozen"]),
            share=float(values["share"]), along=held.get("along"),
        )  # fmt: skip
        buffers = {name.removeprefix(BUFFER): b for name, b in held.items() if name.startswith(BUFFER)}
        work = Work(held["clients"].numpy(), held["rows"], held["counts"])
        return cls(work, int(values["turn"]), held["start"], buffers, pull)


def answer(clients: Any, found: Found) -> Arrays:
    """What clients come back with, as arrays."""
    arrays = {
        "clients": np.asarray(clients),
        "weights": found.weights.numpy(),
        "steps": found.steps.numpy(),
        "losses": found.losses.numpy(),
    }
    return arrays | {BUFFER + name: b.numpy() for name, b in found.buffers.items()}


class Gathering:
    """What has come back of a job so far."""

    def __init__(self, job: Job) -> None:
        many, size = len(job.work.clients), job.start.shape[-1]
        own = {n: b if job.start.ndim == 1 else b[0] for n, b in job.buffers.items()}
        self.found = Found(
            torch.full((many, size), torch.nan, dtype=job.start.dtype),
            {name: b.expand(many, *b.shape).clone() for name, b in own.items()},
            torch.zeros(many, dtype=torch.long),
            torch.full((many,), torch.nan, dtype=torch.float64),
        )
        self.places = {int(client): place for place, client in enumerate(job.work.clients)}
        self.left = set(self.places)

    def take(self, arrays: Mapping[str, Any], allowed: Sequence[int]) -> None:
        """What a node sent, where it is of clients that it was asked for and of the right shape.

        Raises:
            FederationError: It is not.
        """
        held = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
        missing = {"clients", "weights", "steps", "losses"} - set(held)
        if missing:
            raise FederationError(f"an answer without {', '.join(sorted(missing))}.")
        clients = [int(c) for c in held["clients"].tolist()]
        if sorted(clients) != sorted(allowed):
            raise FederationError(f"an answer for clients {clients}, where {sorted(allowed)} were asked for.")
        shapes = {"weights": self.found.weights[0].shape, "steps": (), "losses": ()}
        shapes |= {BUFFER + name: b[0].shape for name, b in self.found.buffers.items()}
        for name, shape in shapes.items():
            if name not in held or tuple(held[name].shape) != (len(clients), *shape):
                raise FederationError(f"an answer whose {name!r} has not the shape {(len(clients), *shape)}.")
        rows = torch.tensor([self.places[c] for c in clients], dtype=torch.long)
        self.found.weights[rows] = held["weights"].to(self.found.weights.dtype)
        self.found.steps[rows] = held["steps"].long()
        self.found.losses[rows] = held["losses"].double()
        for name, b in self.found.buffers.items():
            b[rows] = held[BUFFER + name].to(b.dtype)
        self.left -= set(clients)
