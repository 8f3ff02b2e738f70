"""FedRep: first the head, which stays at home, then the body, which is shared."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from steepest.core.rule import hyper
from steepest.federated.local import Found, Pull
from steepest.federated.method import Method, Round, method
from steepest.federated.methods.fedper import FedPer


@method
class FedRep(FedPer):
    r"""In a round a client trains its own part with the shared one held, then the shared one with its own held.

    Args:
        part: What stays at home, as in ``fedper``.
        head_epochs: Passes over a client's rows for its own part; those of the federation are for the shared one.

    A client that has never taken part has the first global weights in its own part.
    Source: Collins et al. 2021, arXiv:2102.07078, Algorithm 1.

    Example:
        >>> FedRep(head_epochs=5)
        fedrep(head_epochs=5)
    """

    head_epochs: int = hyper(1, "[1, inf)", whole=True)

    shared_names: ClassVar[frozenset[str]] = frozenset()

    def ready(self, model: nn.Module) -> Method:
        made = super().ready(model)
        every = frozenset(name for name, p in model.named_parameters() if p.requires_grad)
        object.__setattr__(made, "shared_names", every - made.at_home)
        return made

    def local(self, round: Round) -> tuple[Tensor, Found]:
        start = torch.where(self.kept, round.rows["own"], round.w)
        first = round.train(start, Pull(frozen=self.shared_names), round.again(self.head_epochs))
        body = replace(round.work, part=1)
        found = round.train(first.weights.double(), Pull(frozen=self.at_home), body)
        return start, found
