"""Inverse square root, with and without warm-up, and Noam, which is the same in the paper's scale."""

from __future__ import annotations

from typing import ClassVar

from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.schedules.base import By, Clock, Duration, Schedule, duration, schedule


@schedule
class InverseSqrt(Schedule):
    r"""The inverse square root of time, 1 at the first step.

    .. math:: f(t) = \sqrt{\frac{S}{S + t}}

    Args:
        timescale: :math:`S`; after :math:`3 S` steps the factor is one half.

    Identity: ``timescale=1`` is Noam's :math:`n^{-1/2}` with :math:`n = t + 1`, without warm-up.

    Example:
        >>> InverseSqrt().values(4)[::3], InverseSqrt(100).values(301)[300]
        ([1.0, 0.5], 0.5)
    """

    early: ClassVar[tuple[str, ...]] = ("timescale",)

    timescale: Duration = duration(1)

    def curve(self, t: int, clock: Clock) -> float:
        s = clock.steps(self.timescale, self.name)
        return float((s / (s + t)) ** 0.5)


@schedule
class WarmupInverseSqrt(Schedule):
    r"""Linear warm-up to 1, then the inverse square root of time: Noam's shape with its peak at the base.

    .. math:: f(t) = \min\left(\frac{n}{W}, \sqrt{\frac{W}{n}}\right), \qquad n = t + 1

    Args:
        warmup: :math:`W`; the peak is its last step. 0: no warm-up.

    Identity: ``Noam(W)`` times :math:`\sqrt{W}`.
    Source: Vaswani et al. 2017, arXiv:1706.03762, Equation 3, rescaled.

    Example:
        >>> WarmupInverseSqrt(4).values(16)[::5]
        [0.25, 0.816496580927726, 0.6030226891555273, 0.5]
    """

    early: ClassVar[tuple[str, ...]] = ("warmup",)

    warmup: Duration = duration(4000, zero=True)

    def curve(self, t: int, clock: Clock) -> float:
        n, w = t + 1, max(1, clock.steps(self.warmup, self.name))
        return float(min(n / w, (w / n) ** 0.5))


@schedule
class Noam(Schedule):
    r"""The schedule of the first transformer, in the paper's scale: the base learning rate is then 1, or 2.

    .. math:: f(t) = s\, d^{-1/2} \min(n^{-1/2}, n W^{-3/2}), \qquad n = t + 1

    Args:
        warmup: :math:`W`; the peak :math:`s / \sqrt{d W}` is its last step. 0: no warm-up.
        d_model: Width of the model, :math:`d`. The default 1 leaves the width out.
        scale: :math:`s`. Unitless, in (0, inf).

    Three scales are in use: the paper's (``d_model=512``, base 1), without the width (``d_model=1``), and with the
    peak at the base (:class:`WarmupInverseSqrt`), which keeps the learning rate comparable with other schedules.
    Counting from :math:`n = 1` makes it safe at the first step, where :math:`t^{-1/2}` is undefined.
    Source: Vaswani et al. 2017, arXiv:1706.03762, Equation 3.

    Example:
        >>> Noam(warmup=4, d_model=4).values(4)
        [0.0625, 0.125, 0.1875, 0.25]
    """

    name: ClassVar[str] = "noam_decay"
    early: ClassVar[tuple[str, ...]] = ("warmup",)

    warmup: Duration = duration(4000, zero=True)
    d_model: int = hyper(1, "[1, inf)", whole=True)
    scale: float = hyper(1.0, "(0, inf)")

    def curve(self, t: int, clock: Clock) -> float:
        n, w = t + 1, max(1, clock.steps(self.warmup, self.name))
        return float(self.scale * self.d_model**-0.5 * min(n**-0.5, n * w**-1.5))


@piece("schedule")
def inverse_sqrt(timescale: Duration = 1, by: By = "step", on: str = "lr") -> Schedule:
    """The inverse square root of time, 1 at the first step."""
    return InverseSqrt(timescale, by=by, on=on)


@piece("schedule")
def warmup_inverse_sqrt(warmup: Duration = 4000, by: By = "step", on: str = "lr") -> Schedule:
    """Linear warm-up to 1, then the inverse square root of time. Source: arXiv:1706.03762, rescaled."""
    return WarmupInverseSqrt(warmup, by=by, on=on)


@piece("schedule")
def noam_decay(
    warmup: Duration = 4000, d_model: int = 1, scale: float = 1.0, by: By = "step", on: str = "lr"
) -> Schedule:
    """The first transformer's schedule in the paper's scale; the base learning rate is 1. Source: arXiv:1706.03762."""
    return Noam(warmup, d_model, scale, by=by, on=on)
