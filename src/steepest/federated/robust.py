"""Robust aggregation: one update of many, some of which may be false. All maths is on deltas, in float64.

On raw weights in float32 the differences between updates drown late in training: distances computed as
:math:`|x|^2 + |y|^2 - 2xy` are then wrong by many times their size, and Krum selects attackers. Here vectors are what
clients changed, and distances are sums of squared differences.

A rule looks at no weights: a client that says it has many rows counts as any other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from steepest.core.robust import krum_scores, trimmed_mean
from steepest.core.rule import hyper
from steepest.federated.errors import FederationError
from steepest.federated.method import mean
from steepest.federated.named import Named, family, read

aggregate = dataclass(frozen=True, repr=False)


@dataclass
class Memory:
    """What an aggregation keeps from round to round: a vector, and numbers for those who draw."""

    center: Tensor | None = None
    generator: torch.Generator = field(default_factory=torch.Generator)


@dataclass(frozen=True, repr=False)
class Aggregate(Named):
    """From updates ``(S, D)`` in float64, and weights with sum 1, to one update ``(D,)``."""

    def __call__(self, x: Tensor, weights: Tensor, memory: Memory) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not say how updates are put together")

    def false(self, faulty: float, many: int) -> int:
        """How many of ``many`` may be false: a number, or a share of them, rounded up."""
        return math.ceil(faulty * many) if faulty < 1 else int(faulty)

    def need(self, what: str, fewest: int, many: int) -> None:
        """An error where too few updates came."""
        if many < fewest:
            raise FederationError(
                f"{self}: {what} needs at least {fewest} updates, and {many} came. Sample more clients."
            )


def distances(x: Tensor) -> Tensor:
    """Squared distances between rows, from their differences.

    >>> distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64))
    tensor([[ 0., 25.],
            [25.,  0.]], dtype=torch.float64)
    """
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()


@aggregate
class Mean(Aggregate):
    """The weighted mean: what is done where nothing is feared.

    >>> Mean()(torch.tensor([[1.0], [3.0]]), torch.tensor([0.25, 0.75]), Memory())
    tensor([2.5000], dtype=torch.float64)
    """

    def __call__(self, x: Tensor, weights: Tensor, memory: Memory) -> Tensor:
        return mean(x, weights)


@aggregate
class Median(Aggregate):
    """In each entry the median; of an even number, the mean of the two in the middle.

    Source: Yin et al. 2018, arXiv:1803.01498, Definition 1.
    """

    def __call__(self, x: Tensor, weights: Tensor, memory: Memory) -> Tensor:
        return trimmed_mean(x, (len(x) - 1) // 2)


@aggregate
class TrimmedMean(Aggregate):
    """In each entry the mean without the largest and the smallest.

    Args:
        faulty: How many are left out on each side; below 1, which share of them.

    Source: Yin et al. 2018, arXiv:1803.01498, Definition 2.
    """

    faulty: float = hyper(0.2, "[0, inf)")

    def __call__(self, x: Tensor, weights: Tensor, memory: Memory) -> Tensor:
        trim = self.false(self.faulty, len(x))
        self.need(f"leaving out {trim} on each side", 2 * trim + 1, len(x))
        return trimmed_mean(x, trim)


@aggregate
class Krum(Aggregate):
    """The update that is nearest to its neighbours, or the mean of several such (multi-Krum).

    Args:
        faulty: How many may be false; below 1, which share.
        selected: Of how many the mean is taken; 0: of all but ``faulty``.

    Source: Blanchard et al. 2017, arXiv:1703.02757, section 4; multi-Krum: section 6.
    """

    faulty: float = hyper(0.2, "[0, inf)")
    selected: int = hyper(1, "[0, inf)", whole=True)

    def choose(self, x: Tensor) -> Tensor:
        """Which updates are taken, the best first."""
        n, f = len(x), self.false(self.faulty, len(x))
        self.need(f"with {f} false", max(2 * f + 3, self.selected), n)
        scores = krum_scores(distances(x), n - f - 2)
        return scores.argsort(dim=0, stable=True)[: self.selected or n - f]

    def __call__(self, x: Tensor, weights: Tensor, memory: Memory) -> Tensor:
        return x[self.choose(x)].mean(0)


@aggregate
class MultiKrum(Krum):
    """:class:`Krum` that takes the mean of all but those that may be false."""

    selected: int = hyper(0, "[0, inf)", whole=True)


@aggregate
class Bulyan(Aggregate):
    """Krum chooses n - 2f updates one by one; in each entry the mean of the n - 4f nearest to their median.

    Args:
        faulty: f; below 1, which share.

    The last of those that Krum chooses may have one score, two that are each other's nearest; the first is then taken.

    Source: El Mhamdi, Guerraoui and Rouault 2018, arXiv:1802.07927, section 4.
    """

    faulty: float = hyper(0.2, "[0, inf)")

    def __call__(self, x: Tensor, weights: Tensor, memory: Memory) -> Tensor:
        n, f = len(x), self.false(self.faulty, len(x))
        self.need(f"with {f} false", 4 * f + 3, n)
        apart = distances(x)
        left = list(range(n))
        chosen = []
        for _ in range(n - 2 * f):
            own = torch.tensor(left)
            near = max(1, len(left) - f - 2)
            best = int(krum_scores(apart[own][:, own], min(near, len(left) - 1)).argmin()) if len(left) > 1 else 0
            chosen.append(left.pop(best))
        y = x[torch.tensor(chosen)]
        middle = trimmed_mean(y, (len(y) - 1) // 2)
        nearest = (y - middle).abs().argsort(dim=0, stable=True)[: len(y) - 2 * f]
        return y.gather(0, nearest).mean(0)


@aggregate
class Rfa(Aggregate):
    r"""The geometric median, by smoothed Weiszfeld steps; weights count.

    .. math:: \beta_i = \frac{p_i}{\max(\nu, \lVert v - x_i \rVert)}, \qquad
        v \leftarrow \frac{\sum_i \beta_i x_i}{\sum_i \beta_i}

    Args:
        steps: How often.
        nu: :math:`\nu`, in units of a weight.

    Differs from: the paper, which begins at the mean: an update that is far enough away is then still seen after a few
    steps. Here :math:`v` begins at the median of each entry.
    Source: Pillutla, Kakade and Harchaoui 2019, arXiv:1912.13445, Algorithm 2.
    """

    steps: int = hyper(3, "[1, inf)", whole=True)
    nu: float = hyper(1e-6, "(0, inf)")

    def __call__(self, x: Tensor, weights: Tensor, memory: Memory) -> Tensor:
        v = trimmed_mean(x, (len(x) - 1) // 2)
        for _ in range(self.steps):
            beta = weights.double() / (x - v).norm(dim=1).clamp(min=self.nu)
            v = mean(x, beta / beta.sum())
        return v


@aggregate
class CenteredClip(Aggregate):
    r"""The mean of what differs from the last update, each difference cut to a length.

    .. math:: v \leftarrow v + \frac{1}{n} \sum_i (x_i - v) \min\Bigl(1, \frac{\tau}{\lVert x_i - v \rVert}\Bigr)

    Args:
        tau: :math:`\tau`, in units of a weight; 0: the median of the distances at each step.
        steps: How often.

    :math:`v` begins as the last round's result. The paper's clients send momentum (weight 0.9).
    Source: Karimireddy, He and Jaggi 2020, arXiv:2012.10333, Algorithm 2; the adaptive length is ours.
    """

    tau: float = hyper(0.0, "[0, inf)")
    steps: int = hyper(3, "[1, inf)", whole=True)

    def __call__(self, x: Tensor, weights: Tensor, memory: Memory) -> Tensor:
        v = torch.zeros_like(x[0]) if memory.center is None else memory.center
        for _ in range(self.steps):
            away = x - v
            lengths = away.norm(dim=1)
            tau = self.tau or float(lengths.median())
            v = v + (away * (tau / lengths.clamp(min=1e-300)).clamp(max=1.0)[:, None]).mean(0)
        memory.center = v
        return v


@aggregate
class NormBound(Aggregate):
    """The weighted mean of updates that are no longer than a bound; longer ones are cut.

    Args:
        bound: In units of a weight; 0: the median length of the round.

    Source: Sun et al. 2019, arXiv:1911.07963, section 4.
    """

    bound: float = hyper(0.0, "[0, inf)")

    def __call__(self, x: Tensor, weights: Tensor, memory: Memory) -> Tensor:
        lengths = x.norm(dim=1)
        bound = self.bound or float(lengths.median())
        return mean(x * (bound / lengths.clamp(min=1e-300)).clamp(max=1.0)[:, None], weights)


@aggregate
class Bucketing(Aggregate):
    """Means of ``s`` updates drawn at random, handed to another rule: where honest clients differ by nature.

    Args:
        of: The other rule.
        s: How many in a bucket.

    Source: Karimireddy, He and Jaggi 2020, arXiv:2006.09365, Algorithm 1.
    """

    of: Any = "centered_clip"
    s: int = hyper(2, "[1, inf)", whole=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", as_aggregate(self.of))
        super().__post_init__()

    def __str__(self) -> str:
        return f"bucketing(of={self.of}, s={self.s})"

    __repr__ = __str__

    def __call__(self, x: Tensor, weights: Tensor, memory: Memory) -> Tensor:
        order = torch.randperm(len(x), generator=memory.generator)
        buckets = torch.stack([x[own].mean(0) for own in torch.split(order, self.s)])
        result: Tensor = self.of(buckets, torch.full((len(buckets),), 1 / len(buckets), dtype=torch.float64), memory)
        return result


@cache
def aggregates() -> dict[str, type[Aggregate]]:
    """Every rule by its name in the text form."""
    return family(Aggregate)


def as_aggregate(given: Any) -> Aggregate:
    """A rule from itself or its text.

    >>> as_aggregate("krum(faulty=2)"), as_aggregate("bucketing(of=krum(faulty=1))")
    (krum(faulty=2), bucketing(of=krum(faulty=1), s=2))
    """
    if isinstance(given, Aggregate):
        return given
    made: Aggregate = read("aggregation", given, aggregates())
    return made
