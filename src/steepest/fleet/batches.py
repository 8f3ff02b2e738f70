"""The batches of all members at one step, stacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from steepest.fleet.stack import StackError
from steepest.tasks.data import Batches, TensorBatches, to_device


class StackedBatches:
    """The members' batches side by side; where all draw rows from the same tensors, by one look-up.

    Args:
        batches: Each member's own.
        device: Where the batches are wanted.
    """

    def __init__(self, batches: Sequence[Batches], device: torch.device) -> None:
        self.batches = list(batches)
        self.device = device
        first = batches[0]
        self.rows = isinstance(first, TensorBatches) and all(
            isinstance(b, TensorBatches)
            and b.batch_size == first.batch_size
            and all(x is y for x, y in zip(b.tensors, first.tensors, strict=True))
            for b in batches
        )
        self._epochs: list[int] | None = None
        self._order: Tensor | None = None

    def at(self, steps: Sequence[int]) -> Any:
        """The batch of a step for each member, as one tree of tensors with the members in front."""
        if self.rows:
            return to_device(self._rows(steps), self.device)
        trees = [batch.batch(step) for batch, step in zip(self.batches, steps, strict=True)]
        flat = [pytree.tree_flatten(tree) for tree in trees]
        form = flat[0][1]
        if any(other != form for _, other in flat):
            raise StackError("the members' batches are built differently, and a stack takes batches of one form.")
        columns = zip(*(leaves for leaves, _ in flat), strict=True)
        return to_device(pytree.tree_unflatten([_stacked(column) for column in columns], form), self.device)

    def _rows(self, steps: Sequence[int]) -> tuple[Tensor, ...]:
        first = self.batches[0]
        assert isinstance(first, TensorBatches)
        per, size = first.steps_per_epoch, first.batch_size
        epochs = [step // per for step in steps]
        if epochs != self._epochs:
            self._order = torch.stack(
                [cast(TensorBatches, b).order(e) for b, e in zip(self.batches, epochs, strict=True)]
            )
            self._epochs = epochs
        assert self._order is not None
        places = [step % per for step in steps]
        if len(set(places)) == 1:
            rows = self._order[:, places[0] * size : (places[0] + 1) * size]
        else:
            rows = torch.stack([own[b * size : (b + 1) * size] for own, b in zip(self._order, places, strict=True)])
        every = rows.reshape(-1)
        return tuple(t.index_select(0, every).view(*rows.shape, *t.shape[1:]) for t in first.tensors)


def _stacked(column: Sequence[Any]) -> Any:
    first = column[0]
    if not isinstance(first, Tensor):
        if any(value != first for value in column):
            raise StackError(f"a batch holds {first!r} for one member and another value for the next; give a tensor.")
        return first
    shapes = sorted({tuple(t.shape) for t in column})
    if len(shapes) > 1:
        raise StackError(f"the members' batches have shapes {', '.join(map(str, shapes))}; a stack takes one shape.")
    return torch.stack(list(column))
