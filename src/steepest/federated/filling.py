r"""Batches that are not full, filled up, and what was added subtracted again.

A client whose last batch is not full gets it filled up with copies of that batch's first row :math:`r`. Where the loss
is a mean over rows, the loss of the :math:`n` rows that are its own is

.. math:: L = \frac{B\,L_{\text{filled}} - (B - n)\,L_r}{n},

and so is its gradient: the copies cancel. Whether this holds for a task is tried on a batch; batch norm and dropout,
say, depend on the size of the batch, and such a model is stacked where all batches are full. A loss that leaves out
rows without a label, as torch's cross-entropy does with label -100, needs nothing subtracted: that is tried too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from steepest.federated.clients import Clients
from steepest.federated.features import Lesson, listening
from steepest.tasks.randomness import seeded
from steepest.tasks.task import Task

BLANK = -100
"""The label of a row that does not count: what torch's losses of class indices leave out by default."""


def taught(task: Task, lesson: Lesson, tensors: int, ragged: bool) -> Any:
    """A loss with a lesson; a batch ends with rows of its tables, then with how many rows count where it is filled."""

    def loss(model: nn.Module, batch: Any) -> Tensor:
        data, more = tuple(batch[:tensors]), batch[tensors:]
        size = data[0].shape[0]
        with listening(model, lesson.head) as ear:
            value = filled(task, model, data, more[-1]) if ragged else task.loss(task.forward(model, data), data)
        tables = tuple(more[:-1]) if ragged else tuple(more)
        place = torch.arange(size)
        own = place < more[-1] if ragged else place >= 0
        return value + lesson.term(ear.features(size), tables, own)

    return loss


def filled(task: Task, model: nn.Module, data: tuple[Tensor, ...], n: Tensor) -> Tensor:
    """The loss of the first ``n`` rows of a batch that was filled up with copies of its first."""
    size = data[0].shape[0]
    output = task.forward(model, data)
    whole = task.loss(output, data)
    first = task.loss(pytree.tree_map(lambda t: t[:1], output), tuple(t[:1] for t in data))
    return (size * whole - (size - n) * first) / n


def linear_in_rows(task: Task, clients: Clients, seed: int, batch: int) -> bool:
    """Whether the loss of a filled batch gives that of its own rows, and the gradient too; tried on one batch."""
    return _same(task, clients, seed, batch, lambda model, data, n: filled(task, model, data, torch.tensor(float(n))))


def ignores_blanks(task: Task, clients: Clients, seed: int, batch: int) -> bool:
    """Whether the loss leaves out rows with label :data:`BLANK`, as torch's cross-entropy does; tried on one batch."""
    if clients.labels is None:
        return False

    def loss(model: nn.Module, data: tuple[Tensor, ...], n: int) -> Tensor:
        return task.training_loss(model, blanked(data, torch.arange(len(data[0])) >= n))

    return _same(task, clients, seed, batch, loss)


def blanked(data: tuple[Tensor, ...], added: Tensor) -> tuple[Tensor, ...]:
    """A batch in which rows that were added have no label."""
    return (data[0], data[1].masked_fill(added, BLANK), *data[2:])


def _same(task: Task, clients: Clients, seed: int, batch: int, loss_of: Callable[..., Tensor]) -> bool:
    """Whether a loss of a batch to which two rows were added is that of the batch alone, and the gradient too."""
    widest = max(clients.able, key=lambda c: int(clients.sizes[c]))
    rows = clients.train[widest]
    if len(rows) < 2 or batch < 2:
        return True
    n = min(len(rows), batch) - 1
    some = rows[:n]
    data = tuple(t.index_select(0, some) for t in clients.tensors)
    wide = tuple(torch.cat([t, t[:1].expand(2, *t.shape[1:])]) for t in data)
    found = []
    for alone in (True, False):
        model = task.build(seed).train()
        with seeded(seed, "filled"):
            try:
                loss = task.training_loss(model, data) if alone else loss_of(model, wide, n)
                loss.backward()  # type: ignore[no-untyped-call]
            except Exception:  # a loss that knows nothing of rows
                return False
        grads = [p.grad.double().flatten() for p in model.parameters() if p.grad is not None]
        found.append(torch.cat([loss.detach().double().reshape(1), *grads]))
    return bool(torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-6 * float(found[0].abs().max())))
