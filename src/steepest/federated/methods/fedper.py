"""FedPer and FedBN: some of a model stays at home."""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from steepest.federated.errors import FederationError
from steepest.federated.local import Pull
from steepest.federated.method import Method, Round, method
from steepest.federated.vectors import Vectors


@method
class FedPer(Method):
    r"""Clients share the body of the model and keep a part of it to themselves.

    Args:
        part: ``"head"``: the parameters of the last layer; ``"norm"``: those of normalisation layers (as FedBN has it,
            whose running statistics are averaged here all the same); or a name, of which every parameter that begins
            with it is kept.

    A client that has never taken part has the first global weights there, and the global model is measured with these.
    Source: Arivazhagan et al. 2019, arXiv:1912.00818, Algorithms 1 and 2; Li et al. 2021, arXiv:2102.07623 (norm).

    Example:
        >>> FedPer(part="norm")
        fedper(part='norm')
    """

    part: str = "head"

    kept: ClassVar[Tensor] = torch.empty(0, dtype=torch.bool)
    rows: ClassVar[tuple[str, ...]] = ("own",)
    starts_at_weights: ClassVar[tuple[str, ...]] = ("own",)
    personal: ClassVar[bool] = True

    def ready(self, model: nn.Module) -> Method:
        made = copy.copy(self)
        names = kept(model, self.part)
        object.__setattr__(made, "kept", Vectors(model).mask(names))
        object.__setattr__(made, "at_home", frozenset(names))
        return made

    def begin(self, round: Round) -> tuple[Tensor | None, Pull]:
        return torch.where(self.kept, round.rows["own"], round.w), Pull()

    def finish(self, round: Round) -> Tensor:
        d = torch.where(self.kept, round.deltas, 0.0)
        round.rows["own"] = torch.where(self.kept, round.rows["own"] + d, 0.0)
        return round.mean(torch.where(self.kept, 0.0, round.deltas))

    def own(self, rows: dict[str, Tensor], w: Tensor) -> Tensor:
        return torch.where(self.kept, rows["own"], w)


NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def kept(model: nn.Module, part: str) -> list[str]:
    """The names of the trained parameters that stay with a client."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    if part == "norm":
        owners = {name for name, module in model.named_modules() if isinstance(module, NORMS)}
    else:
        owners = {trained[-1].rpartition(".")[0] if part == "head" else part}
    owners.discard("")
    found = [n for n in trained if any(n == o or n.startswith(f"{o}.") for o in owners)]
    if not found or len(found) == len(trained):
        raise FederationError(
            f"fedper(part={part!r}) keeps {'all' if found else 'none'} of the model's parameters: "
            f"{', '.join(trained[:6])}. "
            "Give part='head', part='norm' or the beginning of a name."
        )
    return found
