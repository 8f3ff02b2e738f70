"""Latest weight averaging: the mean of the last few checkpoints."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import where
from steepest.core.wrapper import Wrapper
from steepest.wrappers.behind import Behind
from steepest.wrappers.whole import whole


@rule
class Snapshot(Rule):
    r"""One place of a ring: remember the weights at every :math:`kn`-th step; training itself is left as it is.

    Place :math:`j` of :math:`k` is written after steps :math:`(j + 1) n, (j + 1) n + kn, ...`. Each place that holds
    something takes part in the mean of those before it, so that :math:`k` links in a row give the mean of the ring:

    .. math::
        u = g, \qquad x_j = x_{j-1} + \frac{c_j - x_{j-1}}{j + 1}

    Args:
        every: Steps :math:`n` between two checkpoints, in [1, inf).
        number: Which place :math:`j` this is, in [0, inf).
        places: How many places :math:`k` there are, in [1, inf).

    Shapes: any. Memory: 4 bytes a parameter for each place, in the pass of the rule they stand behind.
    Source: Kaddour 2022, arXiv:2209.14981 (LAWA).

    Example:
        >>> r, p = Snapshot(every=2), torch.tensor([1.0])
        >>> _, s = r.update(torch.tensor([0.4]), r.init(p), p, r.scalars(2))
        >>> s.checkpoint, r.evaluated(torch.tensor([5.0]), s, 3)
        (tensor([0.6000]), tensor([0.6000]))
    """

    every: Scalar = hyper(default=100, bounds="[1, inf)", whole=True)
    number: Scalar = hyper(default=0, bounds="[0, inf)")
    places: Scalar = hyper(default=1, bounds="[1, inf)")

    class State(NamedTuple):
        checkpoint: Tensor

    class K(NamedTuple):
        keep: Scalar
        take: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(p.clone())

    def scalars(self, t: Scalar) -> K:
        taken = t / self.every - 1  # checkpoints before this one, where whole
        mine = where(taken % 1 == 0, 1.0, 0.0) * where(taken % self.places == self.number % self.places, 1.0, 0.0)
        return self.K(1 - mine, mine)

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        return g, self.State(k.keep * s.checkpoint + k.take * (p - g))

    def evaluated(self, p: Tensor, s: State, t: int) -> Tensor:
        j = int(self.number)
        if t // float(self.every) <= j:
            return p
        return s.checkpoint if j == 0 else torch.lerp(p, s.checkpoint, 1 / (j + 1))


@piece("wrapper")
def lawa(k: int = 5, every: int = 100) -> Wrapper:
    """Evaluate, validate and deploy the mean of the k latest checkpoints, one taken every so many steps.

    Before the first checkpoint the weights themselves are evaluated, and before the k-th the mean of those there are.

    Args:
        k: Checkpoints in the mean; each costs 4 bytes a parameter and one read and write in every step.
        every: Steps between two; the paper takes an epoch.

    Use when: training is long and you look at it on the way: the mean is where a decayed learning rate would lead.
    Not when: memory is short: ``ema`` costs as much as one checkpoint.
    Source: arXiv:2209.14981 (LAWA).
    """
    places = whole("lawa: k", k)
    links = tuple(Snapshot(whole("lawa: every", every), number, places) for number in range(places))
    return Behind(Chain(links), "lawa")
