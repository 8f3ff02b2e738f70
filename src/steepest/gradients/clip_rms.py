"""Clip the root mean square of each parameter's gradient, or of its update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch

from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum


@rule
class ClipRMS(Rule):
    r"""Shrink a tensor whose root mean square is above a bound; unlike a norm, it does not grow with the tensor's size.

    .. math::
        u_j = \frac{g_j}{\max(1, \text{RMS}(g_j) / d)}, \qquad \text{RMS}(x) = \sqrt{\textstyle\frac1n \sum x_i^2}

    As a gradient piece it sees gradients. Put behind a rule (in front of its decay and learning rate) it is the update
    clipping of Adafactor: updates of a root mean square of at most :math:`d`.

    Args:
        max_rms: Bound :math:`d`. In units of the gradient (of the update before the learning rate), in (0, inf].

    Shapes: any. Memory: none. Cost: one read of the gradients.
    Source: Shazeer and Stern 2018, arXiv:1804.04235, Algorithm 4; ``optax.clip_by_block_rms``.

    Example:
        >>> r, g = ClipRMS(0.5), torch.tensor([3.0, -1.0])
        >>> k, _ = r.combine(1, r.start(), [float(term.sum()) for term in r.measure(g, None, None, None)])
        >>> r.update(g, r.init(g), None, k)[0].square().mean().sqrt()
        tensor(0.5000)
    """

    reach: ClassVar[Literal["tensor", "group", "model"]] = "tensor"

    max_rms: Scalar = hyper(1.0, "(0, inf]")

    class K(NamedTuple):
        factor: Scalar

    def measure(self, g: Any, s: Nothing, p: Any, k: Any) -> tuple[Any, Any]:
        return g * g, torch.ones_like(g)

    def combine(self, t: Scalar, memory: Nothing, sums: Sequence[Scalar]) -> tuple[K, Nothing]:
        rms = (sums[0] / maximum(sums[1], 1.0)) ** 0.5
        return self.K(1.0 / maximum(rms / self.max_rms, 1.0)), memory

    def metrics(self, k: K, sums: Sequence[Scalar]) -> dict[str, Scalar]:
        return {"clipped": 1.0 * (k.factor < 1)}

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return g * k.factor, s


@piece("gradient")
def clip_rms(max_rms: float = 1.0) -> ClipRMS:
    """Scale each parameter's gradient down to the root mean square max_rms when it is larger. Source: optax."""
    return ClipRMS(max_rms)
