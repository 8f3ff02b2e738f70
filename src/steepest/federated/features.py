"""What a model makes of a row before its last layer, and losses on that.

A model's features are the input of one of its modules: of its last layer, which is the module that owns the last
trained parameter, or of one that is named. It must get one tensor, with a row of numbers for each row of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steepest.federated.clients import Clients
from steepest.federated.errors import FederationError
from steepest.federated.vectors import Vectors
from steepest.tasks.task import Task

Term = Callable[[Tensor, tuple[Tensor, ...], Tensor], Tensor]


@dataclass
class Lesson:
    """What is added to every client's loss.

    Args:
        key: A name; lessons of one key have the same ``term`` and ``head``.
        term: ``term(z, rows, own)``: a number from features ``(B, d)``, the batch's rows of the tables, and which rows
            of the batch are the client's own (others fill it up and must not count).
        head: The module whose input the features are.
        tables: Further numbers for each row of the training set.
    """

    key: str
    term: Term
    head: str
    tables: tuple[Tensor, ...] = ()


def head_of(model: nn.Module, wanted: str, method: str) -> str:
    """The name of the module whose input are the features: ``"head"`` is the last layer, else a module's own name."""
    if wanted == "head":
        last = [name for name, p in model.named_parameters() if p.requires_grad][-1].rpartition(".")[0]
        if last:
            return last
        raise FederationError(
            f"{method} looks at what comes before a model's last layer, and {type(model).__name__} is one layer itself."
        )
    names = [name for name, _ in model.named_modules() if name]
    if wanted in names:
        return wanted
    raise FederationError(
        f"{method}: the model has no module {wanted!r} whose input could be its features. It has: "
        f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}."
    )


class Ear:
    """The features of the last forward pass."""

    def __init__(self, head: str) -> None:
        self.head = head
        self.heard: list[Any] = []

    def hear(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.heard.append(inputs[0] if inputs else None)

    def features(self, rows: int) -> Tensor:
        """What was heard, if it is a row of numbers for each row."""
        if len(self.heard) != 1:
            raise FederationError(
                f"module {self.head!r} ran {len(self.heard)} times in a forward pass, so its input is not the model's "
                "features. Name another module: features='NAME'."
            )
        z = self.heard[0]
        if not isinstance(z, Tensor) or z.ndim != 2 or len(z) != rows or not z.is_floating_point():
            what = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise FederationError(
                f"the input of module {self.head!r} is {what} for a batch of {rows} rows: features are a row of "
                "numbers for each. Name another module: features='NAME'."
            )
        return z


@contextmanager
def listening(model: nn.Module, head: str) -> Iterator[Ear]:
    """Hear what a module gets while the model runs."""
    ear = Ear(head)
    handle = model.get_submodule(head).register_forward_pre_hook(ear.hear)
    try:
        yield ear
    finally:
        handle.remove()


@torch.no_grad()
def table(
    task: Task, clients: Clients, vectors: Vectors, model: nn.Module, who: Sequence[int], w: Tensor, head: str
) -> Tensor:
    """The features of all training rows of some clients, in rows of their numbers; zeros elsewhere.

    They are those at weights ``w``: a vector, or a row for each client.
    """
    model.eval()
    found: Tensor | None = None
    for place, client in enumerate(who):
        if place == 0 or w.ndim == 2:
            vectors.put((w if w.ndim == 1 else w[place]).to(vectors.dtype), model)
        rows = clients.train[client]
        with listening(model, head) as ear:
            task.forward(model, clients.everything(client))
        z = ear.features(len(rows))
        if found is None:
            found = torch.zeros(len(clients.tensors[0]), z.shape[1], dtype=z.dtype)
        found[rows] = z
    assert found is not None
    return found
