"""Stochastic weight averaging: the plain mean of the weights that the end of training passes through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum, where
from steepest.core.wrapper import Wrapper
from steepest.schedules.base import Clock, Duration, check_duration
from steepest.wrappers.behind import Behind


@rule
class EqualAverage(Rule):
    r"""The mean of the weights after steps :math:`s, s + c, s + 2c, ...`; training itself is left as it is.

    .. math::
        u = g, \qquad \bar p_n = \bar p_{n-1} + \frac{(p_t - u) - \bar p_{n-1}}{n}, \qquad
        n = \frac{t - s}{c} + 1 \text{ where whole}

    Args:
        first: Step :math:`s` after which the first weights are taken, in [0, inf); at 0 the initial ones are the first.
        every: Steps :math:`c` between two that are taken, in [1, inf).

    Shapes: any. Memory: 4 bytes a parameter, in the pass of the rule it stands behind.
    Differs from: the authors' code, which counts epochs. The mean of equal weights is these weights, bit for bit.
    Source: Izmailov et al. 2018, arXiv:1803.05407.

    Example:
        >>> import torch
        >>> r, p = EqualAverage(first=1), torch.tensor([1.0])
        >>> s = r.init(p)
        >>> for t in (1, 2, 3):
        ...     u, s = r.update(torch.tensor([1.0]), s, p, r.scalars(t))
        ...     p = p - u
        >>> p, r.evaluated(p, s, 3)
        (tensor([-2.]), tensor([-1.]))
    """

    first: Scalar = hyper(default=0, bounds="[0, inf)", whole=True)
    every: Scalar = hyper(default=1, bounds="[1, inf)", whole=True)

    class State(NamedTuple):
        mean: Tensor

    class K(NamedTuple):
        keep: Scalar
        fresh: Scalar
        weight: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(p.clone())

    def scalars(self, t: Scalar) -> K:
        n = where(t >= self.first, (t - self.first) / self.every + 1, 0.0)
        taken = where(n % 1 == 0, 1.0, 0.0)
        fresh = where(n == 1, 1.0, 0.0)
        return self.K(1 - fresh, fresh, where(n >= 1, taken / maximum(n, 1.0), 0.0))

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        x = p - g
        mean = k.keep * s.mean + k.fresh * x
        return g, self.State(mean + k.weight * (x - mean))

    def evaluated(self, p: Tensor, s: State, t: int) -> Tensor:
        return s.mean if t >= float(self.first) else p


@dataclass(frozen=True)
class Swa(Wrapper):
    """The plain average, from a moment on that a strategy turns into a step."""

    start: Duration
    every: Duration

    distance: ClassVar[int] = Behind.distance
    alone: ClassVar[str] = Behind.alone

    def wrap(self, links: Chain, group: Mapping[str, Any]) -> Chain:
        clock = Clock()
        start, every = clock.steps(self.start, "swa: start"), clock.steps(self.every, "swa: every")
        return Behind(chain(EqualAverage(start, every)), "swa").wrap(links, group)


@piece("wrapper")
def swa(start: Duration = 0.75, every: Duration = 1) -> Wrapper:
    """Evaluate, validate and deploy the plain mean of the weights at the end of training.

    Args:
        start: When averaging begins: a step, a fraction of the training, or epochs. Until then the weights themselves
            are evaluated.
        every: Steps between the weights that are averaged; the length of a cycle under a cyclic schedule.

    Use when: the learning rate ends high and constant, or in cycles, so that the weights wander about a minimum.
    Not when: the learning rate decays to 0 anyway: the mean then mostly looks back; ``ema`` or ``lawa`` forget.
    Source: arXiv:1803.05407.
    """
    check_duration("swa: start", start, zero=True)
    check_duration("swa: every", every)
    return Swa(start, every)
