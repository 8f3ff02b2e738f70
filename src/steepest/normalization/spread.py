"""How the values of one feature lie: a histogram, and a smooth density over the same range."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

BINS = 32
"""Bars of a histogram."""
POINTS = 161
"""Places where the density is given."""
FINE = 8
"""Cells of the density's grid in one bandwidth, at least."""


@dataclass(frozen=True)
class Spread:
    """A distribution, ready to be drawn; heights are densities, so that areas are shares of the values.

    Attributes:
        low, width: Where the first bar begins, and how wide each is; all values are the same where the width is 0.
        bars: Heights of the bars.
        at, density: The smooth curve; empty where all values are the same.
        mean, deviation: Of the values; the deviation is divided by n.
    """

    low: float
    width: float
    bars: tuple[float, ...]
    at: tuple[float, ...]
    density: tuple[float, ...]
    mean: float
    deviation: float

    def mapped(self, slope: float, offset: float) -> Spread:
        """The spread of ``slope * x + offset``.

        >>> it = spread(torch.tensor([0.0, 1.0, 1.0, 4.0]), bins=2).mapped(-2.0, 1.0)
        >>> it.low, it.width, it.bars, it.mean
        (-7.0, 4.0, (0.0625, 0.1875), -2.0)
        """
        mean, size = slope * self.mean + offset, abs(slope)
        if not size or not self.width:
            return Spread(mean, 0.0, (), (), (), mean, 0.0)
        turn = 1 if slope > 0 else -1
        return replace(
            self,
            low=slope * (self.low if slope > 0 else self.low + self.width * len(self.bars)) + offset,
            width=size * self.width,
            bars=tuple(height / size for height in self.bars[::turn]),
            at=tuple(slope * x + offset for x in self.at[::turn]),
            density=tuple(height / size for height in self.density[::turn]),
            mean=mean,
            deviation=size * self.deviation,
        )

    def record(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def spread(x: Tensor, bins: int = BINS, points: int = POINTS) -> Spread:
    r"""Histogram and Gaussian kernel density of some values.

    The density is :math:`f_h(t) = \frac{1}{n h} \sum_i \varphi((t - x_i) / h)`. Its bandwidth is, of Silverman's
    :math:`0.9 \min(s, \mathrm{IQR} / 1.34)\, n^{-1/5}`, its half and its quarter (for values in several heaps), the one
    under which values are likeliest when each is left out in turn. Values are first shared out over a grid as fine as
    an eighth of the least bandwidth, so that it costs one pass, however many they are.

    Args:
        x: At least one value, all finite.
        bins: Bars between the smallest and the largest value.
        points: Places of the curve, which reaches three bandwidths beyond both.

    Source: Silverman 1986, Density Estimation, equation 3.31 and section 3.4.4 (likelihood cross-validation); Wand 1994
    (linear binning).
    """
    x = x.detach().double().flatten().sort().values
    n = len(x)
    low, high, mean = float(x[0]), float(x[-1]), float(x.mean())
    deviation = float(x.std(correction=0)) if n > 1 else 0.0
    if not high - low > 1e-12 * max(abs(low), abs(high)):
        return Spread(mean, 0.0, (), (), (), mean, 0.0)
    width = (high - low) / bins
    place = ((x - low) / width).long().clamp_max(bins - 1)
    bars = torch.bincount(place, minlength=bins).double() / (n * width)
    middle = float(x[(3 * n - 1) // 4] - x[(n - 1) // 4]) / 1.34
    h = 0.9 * (min(deviation, middle) if middle > 0 else deviation) * n**-0.2
    h = max(h, (high - low) / 2000)  # values that are nearly all the same
    cells = int(4 * FINE * (high - low) / h) + 1
    size = (high - low) / cells
    left = ((x - low) / size).floor().clamp_max(cells - 1)
    share = (x - low) / size - left
    mass = torch.zeros(cells + 1, dtype=torch.float64)
    mass.index_add_(0, left.long(), 1 - share).index_add_(0, left.long() + 1, share)
    h = max((h, h / 2, h / 4), key=lambda width: _left_out(mass, width / size) - n * math.log(width))
    at = torch.linspace(low - 3 * h, high + 3 * h, points, dtype=torch.float64)
    grid = low + size * torch.arange(cells + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * ((at[:, None] - grid) / h).square())
    density = kernel @ mass / (n * h * math.sqrt(2 * math.pi))
    return Spread(low, width, tuple(bars.tolist()), tuple(at.tolist()), tuple(density.tolist()), mean, deviation)


def _left_out(mass: Tensor, h: float) -> float:
    """Sum over values of the logarithm of the others' kernels at each, but for what all bandwidths share."""
    reach = int(4 * h) + 1
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / h).square())
    seen = torch.nn.functional.conv1d(mass[None, None], kernel[None, None], padding=reach)[0, 0]
    return float((mass * (seen - 1).clamp_min(1e-12).log()).sum())
