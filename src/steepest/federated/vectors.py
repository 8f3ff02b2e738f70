"""A model's trained parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Vectors:
    """Where each trained parameter of a model lies in the vector of all.

    >>> vectors = Vectors(nn.Linear(2, 3))
    >>> vectors.names, vectors.size
    (['weight', 'bias'], 9)
    """

    def __init__(self, model: nn.Module) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.shapes = {name: tuple(p.shape) for name, p in named}
        self.dtype = torch.promote_types(named[0][1].dtype, named[-1][1].dtype)
        self.device = named[0][1].device
        self.places: dict[str, slice] = {}
        at = 0
        for name, p in named:
            self.places[name] = slice(at, at + p.numel())
            at += p.numel()
        self.size = at

    def flat(self, model: nn.Module) -> Tensor:
        """A model's trained parameters, copied."""
        own = dict(model.named_parameters())
        return torch.cat([own[name].detach().reshape(-1).to(self.dtype) for name in self.names])

    def views(self, whole: Tensor) -> dict[str, Tensor]:
        """The parts of a vector, or of a stack of them, in the parameters' shapes; they share its memory."""
        return {
            name: whole[..., place].view(*whole.shape[:-1], *self.shapes[name]) for name, place in self.places.items()
        }

    @torch.no_grad()
    def put(self, whole: Tensor, model: nn.Module) -> None:
        """Make a model's trained parameters those of a vector."""
        own = dict(model.named_parameters())
        for name, part in self.views(whole).items():
            own[name].copy_(part)

    def mask(self, names: Sequence[str]) -> Tensor:
        """True where a vector belongs to one of the parameters."""
        found = torch.zeros(self.size, dtype=torch.bool)
        for name in names:
            found[self.places[name]] = True
        return found


def averaged(parts: Mapping[str, Tensor], weights: Tensor) -> dict[str, Tensor]:
    """Buffers of several clients as one: real numbers by their weighted mean, whole numbers by the largest.

    Args:
        parts: Buffers by name, the clients in front.
        weights: One a client, with sum 1.

    So running statistics of batch norm are averaged and counters (``num_batches_tracked``) stay whole numbers. No rule
    of the server ever sees them: a step of Adam on a running variance may make it negative.
    """
    found = {}
    for name, whole in parts.items():
        if whole.is_floating_point():
            found[name] = torch.tensordot(weights.to(torch.float64), whole.double(), 1).to(whole.dtype)
        else:
            found[name] = whole.amax(0)
    return found
