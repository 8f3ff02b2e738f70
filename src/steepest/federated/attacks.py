"""Clients that lie: what they send instead, so that a defence can be seen to hold."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn

from steepest.core.rule import hyper
from steepest.federated.clients import Clients
from steepest.federated.named import Named, family, read
from steepest.tasks.randomness import generator
from steepest.tasks.task import Task

attack = dataclass(frozen=True, repr=False)


@dataclass(frozen=True, repr=False)
class Attack(Named):
    """A share of all clients, drawn once, that lie whenever they are sampled. They know what the honest ones send.

    Args:
        share: Which share of all clients.
    """

    share: float = hyper(0.2, "[0, 1]")

    def liars(self, clients: int, seed: int) -> list[int]:
        """Who lies: a share of all clients, rounded down."""
        order = torch.randperm(clients, generator=generator(seed, "liars"))
        return sorted(order[: int(self.share * clients)].tolist())

    def labels(self, y: Tensor, classes: int) -> Tensor:
        """What liars make of their labels before they train."""
        return y

    def rows(self, tensors: tuple[Tensor, ...], classes: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """What a liar makes of its rows before it trains."""
        return (tensors[0], self.labels(tensors[1], classes), *tensors[2:])

    def poisoned(self, clients: Clients, liars: set[int]) -> Clients:
        """The clients, with what liars make of their rows."""
        if clients.labels is None or not liars:
            return clients
        whole = [t.clone() for t in clients.tensors]
        classes = int(clients.labels.max()) + 1
        for client in sorted(liars):
            own = torch.from_numpy(clients.partition.rows[client])
            drawn = generator(clients.seed, "poison", client)
            made = self.rows(tuple(t[own] for t in whole), classes, drawn)
            for t, rows in zip(whole, made, strict=True):
                t[own] = rows
        found = copy.copy(clients)
        found.tensors = tuple(whole)
        return found

    def success(self, model: nn.Module, task: Task) -> dict[str, float]:
        """How far a model does what the liars want, where that is more than being bad."""
        return {}

    def lie(self, x: Tensor, bad: Tensor, generator: torch.Generator) -> Tensor | list[Tensor]:
        """The updates ``(S, D)`` as they arrive; ``bad`` marks the rows of liars. Rows of other shapes: a list."""
        return x


def _honest(x: Tensor, bad: Tensor) -> Tensor:
    return x if bool(bad.all()) else x[~bad]


def _with(x: Tensor, bad: Tensor, rows: Tensor) -> Tensor:
    return torch.where(bad[:, None], rows, x)


@attack
class SignFlip(Attack):
    """The honest update turned round.

    Args:
        share: Which share of all clients.
        scale: How many times as long.
    """

    scale: float = hyper(1.0, "(0, inf)")

    def lie(self, x: Tensor, bad: Tensor, generator: torch.Generator) -> Tensor:
        return _with(x, bad, -self.scale * x)


@attack
class Gaussian(Attack):
    """Noise, ``scale`` times as long as honest updates are on average."""

    scale: float = hyper(1.0, "(0, inf)")

    def lie(self, x: Tensor, bad: Tensor, generator: torch.Generator) -> Tensor:
        length = _honest(x, bad).norm(dim=1).mean() / x.shape[1] ** 0.5
        return _with(x, bad, self.scale * length * torch.randn(x.shape, generator=generator, dtype=x.dtype))


@attack
class Alie(Attack):
    """A little is enough: all liars send the honest mean less ``z`` standard deviations in each entry.

    Args:
        share: Which share of all clients.
        z: How many; 0: as many as still leave a majority of supporters, from the numbers of this round.

    Source: Baruch, Baruch and Goldberg 2019, arXiv:1902.06156, Algorithm 3.
    """

    z: float = hyper(0.0, "[0, inf)")

    def lie(self, x: Tensor, bad: Tensor, generator: torch.Generator) -> Tensor:
        n, m = len(x), int(bad.sum())
        if not m:
            return x
        needed = n // 2 + 1 - m
        reach = min(max((n - m - needed) / max(1, n - m), 1e-3), 1 - 1e-3)
        z = self.z or max(0.0, NormalDist().inv_cdf(reach))
        own = _honest(x, bad)
        lie = own.mean(0) - z * own.std(0, correction=0)
        return _with(x, bad, lie.expand_as(x))


@attack
class Ipm(Attack):
    """Inner-product manipulation: all liars send minus ``scale`` times the honest mean.

    Source: Xie, Koyejo and Gupta 2019, arXiv:1903.03936, section 4.
    """

    scale: float = hyper(0.5, "(0, inf)")

    def lie(self, x: Tensor, bad: Tensor, generator: torch.Generator) -> Tensor:
        return _with(x, bad, (-self.scale * _honest(x, bad).mean(0)).expand_as(x))


@attack
class LabelFlip(Attack):
    """Liars train on labels counted from the other end: class ``c`` of ``C`` becomes ``C - 1 - c``."""

    def labels(self, y: Tensor, classes: int) -> Tensor:
        return classes - 1 - y


@attack
class Scaled(Attack):
    """The honest update, many times as long.

    Args:
        share: Which share of all clients.
        scale: How many times.
    """

    scale: float = hyper(10.0, "(0, inf)")

    def lie(self, x: Tensor, bad: Tensor, generator: torch.Generator) -> Tensor:
        return _with(x, bad, self.scale * x)


@attack
class Backdoor(Attack):
    """Liars teach the model that rows with a mark are of one class, and send their update many times as long.

    The mark: the first numbers of a row are set to the largest that there is. Success is the share of validation rows
    of other classes that the model takes for that class once they are marked; it is in the records.

    Args:
        share: Which share of all clients.
        scale: How many times as long; clients of a round over liars of a round is model replacement.
        target: The class.
        size: How many numbers the mark has.
        part: Which share of a liar's rows is marked.

    Source: Bagdasaryan et al. 2018, arXiv:1807.00459, section 4 (model replacement); Gu, Dolan-Gavitt and Garg 2017,
    arXiv:1708.06733 (marks).
    """

    scale: float = hyper(1.0, "(0, inf)")
    target: int = hyper(0, "[0, inf)", whole=True)
    size: int = hyper(3, "[1, inf)", whole=True)
    part: float = hyper(0.5, "(0, 1]")

    def marked(self, x: Tensor, high: float) -> Tensor:
        """Rows with the mark."""
        found = x.clone().flatten(1)
        found[:, : self.size] = high
        return found.view_as(x)

    def rows(self, tensors: tuple[Tensor, ...], classes: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        x, y = tensors[0].clone(), tensors[1].clone()
        some = torch.randperm(len(x), generator=generator)[: round(self.part * len(x))]
        if len(some):
            x[some] = self.marked(x[some], float(x.max()))
        y[some] = self.target
        return (x, y, *tensors[2:])

    def lie(self, x: Tensor, bad: Tensor, generator: torch.Generator) -> Tensor:
        return x if self.scale == 1 else _with(x, bad, self.scale * x)

    @torch.no_grad()
    def success(self, model: nn.Module, task: Task) -> dict[str, float]:
        data: Any = task.validation
        if not isinstance(data, tuple) or data[1].is_floating_point():
            return {}
        others = data[1] != self.target
        batch = tuple(t[others] for t in data)
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        output = task.forward(model, (self.marked(batch[0], float(data[0].max())), *batch[1:]))
        for module, mode in modes:
            module.training = mode
        return {"attack_success": float((output.argmax(-1) == self.target).double().mean())}


@attack
class Nan(Attack):
    """An update with NaN in its first entry."""

    def lie(self, x: Tensor, bad: Tensor, generator: torch.Generator) -> Tensor:
        found = x.clone()
        found[bad, 0] = torch.nan
        return found


@attack
class WrongShape(Attack):
    """An update with one entry too many."""

    def lie(self, x: Tensor, bad: Tensor, generator: torch.Generator) -> list[Tensor]:
        return [torch.cat([row, row[:1]]) if lies else row for row, lies in zip(x, bad.tolist(), strict=True)]


@cache
def attacks() -> dict[str, type[Attack]]:
    """Every attack by its name in the text form."""
    return family(Attack)


def as_attack(given: Any) -> Attack | None:
    """An attack from itself or its text.

    >>> as_attack("sign_flip:0.2"), as_attack("scaled(share=0.1, scale=100)")
    (sign_flip, scaled(share=0.1, scale=100))
    """
    if given is None or isinstance(given, Attack):
        return given
    made: Attack = read("attack", given, attacks())
    return made
