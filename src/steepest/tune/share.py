"""How a budget is divided: search, race, and the final on fresh seeds."""

from __future__ import annotations

from dataclasses import dataclass, field

from steepest.compare.budget import Budget, BudgetError
from steepest.compare.clock import Clock

FINAL, RACE = 0.2, 1 / 3
"""Parts of the budget: the final's of all, and the race's of the rest."""
SEEDS, MOST = 5, 0.4
"""Seeds of the final, at most; and the part of the budget that it may have so that these are three, not fewer."""
TIMES = (0.55, 0.8)
"""Where the budget is time: when no new points are tried, and when the race ends, as shares of it."""


@dataclass(frozen=True)
class Share:
    """What each arm may spend.

    Args:
        explore: On trying points, in whole runs' worth of gradients; infinite where the budget is time.
        race: On repeating the better ones.
        finals: Seeds of the final; where the budget is time, at most so many.
        clock: What was spent, and what is left.
    """

    explore: float
    race: float
    finals: int
    clock: Clock = field(compare=False, repr=False)

    @property
    def timed(self) -> bool:
        return self.clock.timed

    def exploring(self) -> bool:
        """Whether new points may be tried."""
        return self.clock.now() < self.clock.until(TIMES[0])

    def open(self) -> bool:
        """Whether anything of the search may be begun."""
        return self.clock.now() < self.clock.until(TIMES[1])


def divided(budget: Budget, gradients: list[float], spent: float = 0.0, final: bool = True) -> Share:
    """The shares of arms that take so many gradients a step; :class:`BudgetError` where there is too little for them.

    Every arm gets the same number of gradients. The final runs what each arm chose, and each as given, on the same
    fresh seeds.

    >>> divided(Budget.read("64 runs"), [1.0])
    Share(explore=36.0, race=18.0, finals=5)
    >>> divided(Budget.read("64 runs"), [1.0, 1.0, 1.0])
    Share(explore=10.0, race=5.0, finals=3)
    """
    clock = Clock(budget, spent)
    if budget.timed:
        return Share(float("inf"), float("inf"), SEEDS if final else 0, clock)
    each = 2 * sum(gradients)  # a seed of the final
    least = 3 if 3 * each <= MOST * budget.amount else 1
    finals = max(least, min(SEEDS, int(FINAL * budget.amount / each + 0.5))) if final else 0
    left = int((budget.amount - finals * each) / len(gradients) + 1e-9)
    if left < max(gradients) or budget.amount < 1:
        smallest = int((each if final else 0) + len(gradients) * max(gradients) + 0.999)
        raise BudgetError(f"a budget of {budget} is too small for this: the smallest is {smallest} runs.")
    race = float(int(left * RACE)) if left > 2 * max(gradients) else 0.0
    return Share(float(left) - race, race, finals, clock)
