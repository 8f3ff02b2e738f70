"""When clients can be asked at all: patterns of the hour, and clients that are seldom there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.named import Named, family, read
from steepest.tasks.randomness import generator

available = dataclass(frozen=True, repr=False)


@dataclass(frozen=True, repr=False)
class Availability(Named):
    """A probability for each client and round, and a draw from it: the same for every method and engine."""

    def chance(self, turn: int, clients: int, seed: int) -> Tensor:
        """How likely each client can be asked in a round."""
        raise NotImplementedError(f"{type(self).__name__} does not say when clients are there")

    def there(self, turn: int, clients: int, seed: int) -> Tensor:
        """Who can be asked in a round: True for those."""
        drawn = torch.rand(clients, generator=generator(seed, "available", turn), dtype=torch.float64)
        return drawn < self.chance(turn, clients, seed)


@available
class Chance(Availability):
    """Every client is there with one probability.

    Args:
        p: How likely.
    """

    p: float = hyper(0.8, "(0, 1]")

    def chance(self, turn: int, clients: int, seed: int) -> Tensor:
        return torch.full((clients,), self.p, dtype=torch.float64)


@available
class Uneven(Availability):
    """Every client has a probability of its own, drawn once between ``low`` and 1: some are seldom there.

    Args:
        low: The smallest.
    """

    low: float = hyper(0.1, "(0, 1]")

    def chance(self, turn: int, clients: int, seed: int) -> Tensor:
        drawn = torch.rand(clients, generator=generator(seed, "uneven"), dtype=torch.float64)
        return self.low + (1 - self.low) * drawn


@available
class Diurnal(Availability):
    r"""Days and nights: :math:`p_i(t) = \mathrm{clip}(m + s \sin(2\pi(t/P + \varphi_i)), 0, 1)`.

    Args:
        period: :math:`P`, in rounds.
        mean: :math:`m`.
        swing: :math:`s`.
        zones: How many time zones; phases :math:`\varphi_i` are drawn among as many. 1: all sleep at once.
    """

    period: float = hyper(24.0, "(0, inf)")
    mean: float = hyper(0.5, "(0, 1]")
    swing: float = hyper(0.5, "[0, 1]")
    zones: int = hyper(1, "[1, inf)", whole=True)

    def chance(self, turn: int, clients: int, seed: int) -> Tensor:
        zone = torch.randint(self.zones, (clients,), generator=generator(seed, "zones")).double() / self.zones
        return (self.mean + self.swing * torch.sin(2 * math.pi * (turn / self.period + zone))).clamp(0, 1)


@cache
def patterns() -> dict[str, type[Availability]]:
    """Every pattern by its name in the text form."""
    return family(Availability)


def as_availability(given: Any) -> Availability | None:
    """A pattern from itself or its text.

    >>> as_availability("diurnal"), as_availability("chance:0.5")
    (diurnal, chance(p=0.5))
    """
    if given is None or isinstance(given, Availability):
        return given
    made: Availability = read("availability", given, patterns())
    return made
