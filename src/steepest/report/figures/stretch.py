"""An axis for differences of very unlike size: even near zero, logarithmic far from it, and of both signs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steepest.report.words import signed


@dataclass(frozen=True)
class Stretch:
    """Places a difference ``d`` at ``asinh(d / unit)``: ``d / unit`` near zero, ``± log |2 d / unit|`` far off.

    >>> stretch = Stretch(0.01)
    >>> stretch.place(0.0), round(stretch.place(1.0), 2), round(stretch.place(-1.0), 2)
    (0.0, 5.3, -5.3)
    """

    unit: float

    def place(self, value: float) -> float:
        """Where a difference stands on the axis."""
        return math.asinh(value / self.unit)

    def axis(self, low: float, high: float) -> dict[str, Any]:
        """Ticks at zero and at powers of ten above the unit, as far as the values reach; at most about five a side.

        >>> Stretch(0.01).axis(-0.02, 5.0)["ticktext"]
        ['0', '+0.1', '+1']
        """
        first = round(math.log10(self.unit)) + 1
        last = max(first, math.floor(math.log10(max(abs(low), abs(high), self.unit))))
        powers = [10.0**e for e in range(first, last + 1, max(1, math.ceil((last - first + 1) / 5)))]
        ticks = [-p for p in reversed(powers) if -p >= low] + [0.0] + [p for p in powers if p <= high]
        texts = ["0" if tick == 0 else signed(tick, 1) for tick in ticks]
        return {"tickmode": "array", "tickvals": [self.place(tick) for tick in ticks], "ticktext": texts}


def stretch_for(extents: Sequence[float], ratio: float = 20.0) -> Stretch | None:
    """The axis for rows that reach so far from zero each; None where a plain axis shows them all.

    >>> stretch_for([0.1, 0.3]), stretch_for([0.0017, 30.0])
    (None, Stretch(unit=0.001))
    """
    reach = [extent for extent in extents if extent > 0]
    if not reach or max(reach) / min(reach) <= ratio:
        return None
    return Stretch(10.0 ** math.floor(math.log10(min(reach))))
