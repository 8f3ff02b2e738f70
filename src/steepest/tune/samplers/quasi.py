"""Points that depend on no result: at random, or spread evenly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy
import torch

from steepest.strategy.space import Point
from steepest.tune.box import Box
from steepest.tune.sampler import Proposal, seed_of
from steepest.tune.trial import Trial


@dataclass(frozen=True)
class Random:
    """Every point at random, each dimension evenly on its scale."""

    learns: ClassVar[bool] = False

    def ask(self, box: Box, trials: Sequence[Trial], seed: int) -> Proposal:
        del trials
        draws = numpy.random.default_rng(seed).random(len(box))
        return Proposal(box.point(dict(zip(box.dimensions, map(float, draws), strict=True))))


@dataclass(frozen=True)
class Sobol:
    """The points of a scrambled Sobol sequence: any number of them cover the box evenly, and each part of it too.

    The n-th trial gets the n-th point. Owen's scrambling of the sequence (linear matrix scrambling with a digital
    shift, as torch's ``SobolEngine``) makes another sequence of each study seed.

    Source: Sobol' 1967; Owen 1998. Args: study: the seed of the scrambling.
    """

    learns: ClassVar[bool] = False
    study: int = 0

    def ask(self, box: Box, trials: Sequence[Trial], seed: int) -> Proposal:
        del seed
        return Proposal(_spread(box, sobol_point(len(box), len(trials), self.study)))


def sobol_point(dimensions: int, index: int, study: int) -> Sequence[float]:
    """One point of the sequence."""
    engine: Any = torch.quasirandom.SobolEngine(  # type: ignore[no-untyped-call]
        dimensions, scramble=True, seed=seed_of(study, "sobol")
    )
    if index:
        engine.fast_forward(index)
    place: list[float] = engine.draw(1, dtype=torch.float64)[0].tolist()
    return place


@dataclass(frozen=True)
class Halton:
    """The points of a scrambled Halton sequence: dimension ``i`` counts in the ``i``-th prime, digits reversed.

    The digits of each base are permuted at random, the same way in all places (Vandewoestyne & Cools 2006 compare
    scramblings; unscrambled, neighbouring large primes run in parallel for long).

    >>> from steepest.tune.box import Box
    >>> box = Box.of({"x": (0.0, 1.0), "y": (0.0, 1.0)})
    >>> sorted(int(4 * Halton().ask(box, [None] * n, 0).point["x"]) for n in range(4, 8))
    [0, 1, 2, 3]
    """

    learns: ClassVar[bool] = False
    study: int = 0

    def ask(self, box: Box, trials: Sequence[Trial], seed: int) -> Proposal:
        del seed
        draw = numpy.random.default_rng(seed_of(self.study, "halton"))
        place = [_radical_inverse(len(trials), base, draw) for base in _primes(len(box))]
        return Proposal(_spread(box, place))


def _radical_inverse(n: int, base: int, draw: numpy.random.Generator) -> float:
    order, shift = draw.permutation(base), draw.random()
    x, scale = 0.0, 1.0
    while scale * base < 2**45:
        scale *= base
        n, digit = divmod(n, base)
        x += float(order[digit]) / scale
    return (x + shift / scale) % 1.0


def _primes(count: int) -> list[int]:
    found: list[int] = []
    n = 2
    while len(found) < count:
        if all(n % p for p in found):
            found.append(n)
        n += 1
    return found


def _spread(box: Box, place: Sequence[float]) -> Point:
    return box.point(dict(zip(box.dimensions, place, strict=True)))
