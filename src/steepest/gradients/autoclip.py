"""Clip the norm of the whole gradient to a percentile of the norms seen so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from steepest.core.errors import HyperparameterError
from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule
from steepest.gradients.clip_norm import clip_factor
from steepest.gradients.history import percentile, remember


@rule
class AutoClip(Rule):
    r"""Clip to the p-th percentile of all gradient norms of this training, the present one among them.

    .. math::
        u = g \cdot \min\left(1, \frac{c_t}{N_t + 10^{-6}}\right), \qquad
        c_t = \text{percentile}_p (N_1, \dots, N_t)

    Args:
        percentile: :math:`p`. In percent, in [0, 100]. At 10 nine steps in ten are clipped: that is what the paper
            found best for audio networks. At 90 only outliers are.
        window: How many of the newest norms count; None: all of them.

    Shapes: any. Memory: one number a step, kept on the host (32 bytes). A step takes about 1 ms longer after 100 000
    steps and 0.1 s after a million; a window bounds both (quantile clipping over a ring buffer).
    A norm that is not finite is not remembered; the gradient it belongs to passes as it is in ``clip_norm``.
    Differs from: the reference code only in that a NaN does not enter the history, where it would make every later
    bound NaN.
    Source: Seetharaman et al. 2020, arXiv:2007.14469.

    Example:
        >>> r = AutoClip(percentile=50.0)
        >>> k, memory = r.combine(1, r.start(), [4.0])
        >>> k, memory = r.combine(2, memory, [36.0])
        >>> memory.norms, k.bound, round(k.factor, 3)
        ((2.0, 6.0), 4.0, 0.667)
    """

    percentile: Scalar = hyper(10.0, "[0, 100]")
    window: int | None = None

    class Memory(NamedTuple):
        norms: tuple[Scalar, ...]

    class K(NamedTuple):
        factor: Scalar
        bound: Scalar

    def start(self) -> Memory:
        return self.Memory(())

    def measure(self, g: Any, s: Nothing, p: Any, k: Any) -> tuple[Any]:
        return (g * g,)

    def combine(self, t: Scalar, memory: Memory, sums: Sequence[Scalar]) -> tuple[K, Memory]:
        norms = remember(tuple(memory.norms), sums[0] ** 0.5, self.window)
        c = percentile(norms, self.percentile, ordered=self.window is None)
        return self.K(clip_factor(sums[0], c), c), self.Memory(norms)

    def metrics(self, k: K, sums: Sequence[float]) -> dict[str, float]:
        return {"grad_norm": float(sums[0] ** 0.5), "clip_factor": float(k.factor), "clip_bound": float(k.bound)}

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return g * k.factor, s


@piece("gradient")
def autoclip(percentile: float = 10.0, window: int | None = None) -> AutoClip:
    """Scale the whole gradient down to a percentile of its norms so far. Source: arXiv:2007.14469."""
    if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
        raise HyperparameterError(f"autoclip: window is a number of steps, at least 1, or None; got {window!r}.")
    return AutoClip(percentile, window)
