"""How long clients take, on a clock that is only counted: what waiting costs can be compared without waiting.

The unit is a step of an ordinary client. A client's pace is drawn once, from the seed of the federation; a job, which
is one client's training in one round, may be faster or slower than usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.named import Named, family, read
from steepest.tasks.randomness import generator

clock = dataclass(frozen=True, repr=False)


@dataclass(frozen=True, repr=False)
class Clock(Named):
    """How fast clients are; ``jitter`` is the standard deviation of the logarithm of a job's time over the usual."""

    def draw(self, clients: int, g: torch.Generator) -> Tensor:
        """What a step of each client takes."""
        raise NotImplementedError(f"{type(self).__name__} does not say how fast clients are")

    def paces(self, clients: int, seed: int) -> Tensor:
        """What a step of each client takes, as the seed says."""
        return self.draw(clients, generator(seed, "paces"))

    def luck(self, job: int, client: int, seed: int) -> float:
        """The factor of one job."""
        jitter = float(getattr(self, "jitter", 0.0))
        if not jitter:
            return 1.0
        drawn = torch.randn((), generator=generator(seed, "jitter", job, client), dtype=torch.float64)
        return float(torch.exp(jitter * drawn))


@clock
class Even(Clock):
    """All clients alike: a step takes 1.

    Args:
        jitter: How much jobs differ.
    """

    jitter: float = hyper(0.0, "[0, inf)")

    def draw(self, clients: int, g: torch.Generator) -> Tensor:
        return torch.ones(clients, dtype=torch.float64)


@clock
class Lognormal(Clock):
    """Paces whose logarithm is normal: the median client takes 1.

    Args:
        sigma: Standard deviation of the logarithm; with 1 the slowest of 100 is some ten times slower than the median.
        jitter: How much jobs of one client differ.
    """

    sigma: float = hyper(1.0, "[0, inf)")
    jitter: float = hyper(0.0, "[0, inf)")

    def draw(self, clients: int, g: torch.Generator) -> Tensor:
        return torch.exp(self.sigma * torch.randn(clients, generator=g, dtype=torch.float64))


@clock
class HalfNormal(Clock):
    """Paces :math:`|z|` with normal z, over their median, and at least a hundredth of it: many fast, some slow.

    Args:
        jitter: How much jobs of one client differ.
    """

    jitter: float = hyper(0.0, "[0, inf)")

    def draw(self, clients: int, g: torch.Generator) -> Tensor:
        z = torch.randn(clients, generator=g, dtype=torch.float64).abs() / 0.6744897501960817
        return z.clamp(min=0.01)


@clock
class Uniform(Clock):
    """Paces between two numbers.

    Args:
        low: The fastest.
        high: The slowest.
        jitter: How much jobs of one client differ.
    """

    low: float = hyper(0.5, "(0, inf)")
    high: float = hyper(1.5, "(0, inf)")
    jitter: float = hyper(0.0, "[0, inf)")

    def draw(self, clients: int, g: torch.Generator) -> Tensor:
        return self.low + (self.high - self.low) * torch.rand(clients, generator=g, dtype=torch.float64)


@cache
def clocks() -> dict[str, type[Clock]]:
    """Every clock by its name in the text form."""
    return family(Clock)


def as_clock(given: Any) -> Clock | None:
    """A clock from itself or its text.

    >>> as_clock("lognormal:0.5"), as_clock("half_normal(jitter=0.2)")
    (lognormal(sigma=0.5), half_normal(jitter=0.2))
    """
    if given is None or isinstance(given, Clock):
        return given
    made: Clock = read("clock", given, clocks())
    return made
