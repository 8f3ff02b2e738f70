"""A search whose evaluations are somebody else's business: it is asked for points, and told what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steepest.core.errors import SteepestError
from steepest.strategy.space import Point, Space
from steepest.tune.box import Box
from steepest.tune.leg import Leg
from steepest.tune.minimize import Minimum, minimum
from steepest.tune.objective import Outcome, outcome_of
from steepest.tune.samplers import sampler as samplers
from steepest.tune.scheduler import Whole
from steepest.tune.search import Search
from steepest.tune.storage import storage as storages

LEASE = 30 * 86400.0
"""Seconds for which a point is believed to be in somebody's hands; a process that died here is seen at once."""


class AskTell:
    """Points on demand, for evaluations in a laboratory, on a cluster, or in a loop of one's own.

    Any number of points may be asked for before anything is told: samplers know which are out, and look elsewhere.
    They may be told in any order.

    Args:
        space, sampler, storage, name, seed, first, objectives, distinct: As in
            :func:`~steepest.tune.minimize.minimize`. With the same storage and name a search goes on.

    Example:
        >>> search = AskTell({"x": (-5.0, 5.0)}, sampler="gp")
        >>> for _ in range(6):
        ...     for leg in [search.ask() for _ in range(4)]:
        ...         search.tell(leg, (leg.point["x"] - 2) ** 2)
        >>> found = search.minimum
        >>> len(found.trials), found.value < 0.01
        (24, True)
    """

    def __init__(
        self,
        space: Box | Space | Mapping[str, Any],
        *,
        sampler: Any = "auto",
        storage: Any = None,
        name: str = "minimize",
        seed: int = 0,
        first: Sequence[Point] = (),
        objectives: int = 1,
        distinct: bool = True,
    ) -> None:
        box = Box.of(space)
        store = storages(storage)(name, box, (1,) * objectives, {"space": str(box)})
        points = [box.complete(point) for point in first]
        asked = samplers(sampler, seed, objectives)
        self.objectives = objectives
        self._search = Search(store, box, asked, Whole(), seed=seed, first=points, distinct=distinct, lease=LEASE)

    def ask(self) -> Leg:
        """The next point: ``leg.point``, and the ``leg.number`` by which it can be told."""
        leg = self._search.take()
        assert leg is not None  # whole trials, and no budget
        return leg

    def tell(self, leg: Leg | int, value: Any) -> None:
        """What came of it: a number (several: a sequence), NaN for a divergence, an exception for a failure.

        Raises:
            SteepestError: The point was not asked for, or was told before.
            TypeError: The value is no number.
        """
        number = leg if isinstance(leg, int) else leg.number
        held = self._search.held.get(number)
        if held is None:
            out = ", ".join(map(str, self._search.held)) or "none"
            raise SteepestError(f"point {number} is not out: not asked for here, or told before. Out are: {out}.")
        if isinstance(value, Exception):
            outcome = Outcome("failed", message=f"{type(value).__name__}: {value}")
        else:
            outcome = outcome_of(value, self.objectives)
        self._search.tell(held, outcome)

    @property
    def minimum(self) -> Minimum:
        """The best so far, and all trials."""
        return minimum(self._search.trials())
