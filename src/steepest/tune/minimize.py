"""Any function: find where it is small."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from steepest.compare.budget import Budget
from steepest.core.errors import SteepestError
from steepest.fit.interrupt import Stop
from steepest.strategy.space import Point, Space
from steepest.tune.box import Box
from steepest.tune.hands import Hands, hands
from steepest.tune.leg import Leg
from steepest.tune.objective import BlackBox, Outcome
from steepest.tune.run import budget_of
from steepest.tune.samplers import sampler as samplers
from steepest.tune.scheduler import Scheduler, Whole
from steepest.tune.search import RETRIES, Keeper, Search
from steepest.tune.storage import storage as storages
from steepest.tune.trial import Trial, best

HOPELESS = 3
"""So many failures before anything came to a value, and the function itself is at fault."""


class ObjectiveError(SteepestError):
    """A function that fails wherever it is called."""


@dataclass(frozen=True)
class Minimum:
    """What :func:`minimize` found.

    Attributes:
        point: The best point; None where no evaluation came to anything.
        value: The objective there.
        trials: Everything that was tried.
        stopped: Whether Ctrl-C ended it; the same call with the same storage goes on.
    """

    point: Point | None
    value: float | None
    trials: Sequence[Trial] = field(repr=False)
    stopped: bool = False

    @property
    def values(self) -> list[float | None]:
        """What each trial came to, in order; None for those that were of no use."""
        return [t.value for t in self.trials]

    @property
    def best_so_far(self) -> list[float]:
        """The smallest value after each trial."""
        found: list[float] = []
        for value in self.values:
            found.append(min(math.inf if value is None else value, found[-1] if found else math.inf))
        return found

    @property
    def failures(self) -> dict[int, str]:
        """Why trials came to nothing, by number: what the function raised, or returned in place of a number."""
        return {t.number: t.last.message for t in self.trials if t.status in ("failed", "diverged")}

    def __str__(self) -> str:
        said = "nothing found" if self.point is None else f"{self.value:.6g} at {dict(self.point)}"
        said += f", of {len(self.trials)} trial{'s' * (len(self.trials) != 1)}"
        if self.failures:
            reason, times = Counter(self.failures.values()).most_common(1)[0]
            often = "" if times == len(self.failures) else f"{times} times "
            said += f"; {len(self.failures)} of no use ({often}{reason})"
        return said + ("; stopped" if self.stopped else "")

    @property
    def front(self) -> list[Trial]:
        """With several objectives: the trials than which none is better in all of them."""
        known = [t for t in self.trials if t.values is not None]
        return [t for t in known if not any(_dominates(o.values or (), t.values or ()) for o in known)]


def minimize(
    objective: Callable[..., Any],
    space: Box | Space | Mapping[str, Any],
    *,
    budget: int | str = 64,
    sampler: Any = "auto",
    scheduler: Scheduler | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    storage: Any = None,
    name: str = "minimize",
    seed: int = 0,
    first: Sequence[Point] = (),
    objectives: int = 1,
    full: int | None = None,
    distinct: bool = True,
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> Minimum:
    """Find a point of a space where a function is small.

    Args:
        objective: Called with a point, a dict; returns a number (several: a sequence). Where it has arguments ``seed``
            or ``steps`` it gets those too. NaN says that the point is of no use; so does an exception. Neither ends
            the search: samplers are told a penalty there. Only where the first three evaluations all fail by an
            exception, the function is at fault, and an error says so.
        space: ``{name: range}``: ``log(a, b)``, ``near_one(a, b)``, ``choice(...)``, a pair ``(a, b)``, or
            :func:`~steepest.tune.box.when` for what is there only sometimes.
        budget: Evaluations, or time (``"10m"``); a total, with those that the storage holds already.
        sampler: As in :func:`steepest.tune.run.tune`; ``"nsga2"`` too, for several objectives.
        scheduler: How far trials are run, where the function takes ``steps``.
        workers: Evaluations at a time, each in a copy of this process (threads where the system has none), so that the
            function may be any; what it changes outside of itself stays in the copy. Samplers know what is being
            evaluated, and look elsewhere.
        executor: Where they are evaluated instead: a ``ThreadPoolExecutor`` for a function that waits for another
            machine, or any executor of a cluster.
        storage: Where the trials are kept, as a file or an address. Processes with the same storage and name work on
            one search; one that died is replaced by the next call.
        name: Of the search, in its storage.
        seed: Another one tries other points.
        first: Points to try first.
        objectives: How many numbers the function returns.
        full: The full number of steps, where the function takes ``steps``.
        distinct: Whether to draw another point in place of one that was tried; False for noisy functions.
        on_trial: Told of each trial that has ended.

    Ctrl-C waits for what is being evaluated and returns the best so far; a second one does not wait, and raises.

    Raises:
        ObjectiveError: Nothing has come to a value, and three evaluations failed.

    Example:
        >>> found = minimize(lambda p: (p["x"] - 2) ** 2 + p["y"], {"x": (-5.0, 5.0), "y": (0.0, 1.0)}, budget=30)
        >>> found.value < 0.01, len(found.trials)
        (True, 30)
    """
    spend, box, begun = budget_of(budget), Box.of(space), time.monotonic()
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise SteepestError(f"workers is how many evaluations run at a time: a whole number >= 1; given {workers!r}.")
    store = storages(storage)(name, box, (1,) * objectives, {"space": str(box)})
    black = BlackBox(objective, objectives, full)

    def open_() -> bool:
        return _open(spend, begun) and not stop.asked

    search = Search(
        store,
        box,
        samplers(sampler, seed, objectives),
        scheduler or Whole(),
        math.inf if spend.timed else spend.amount,
        seed,
        [box.complete(point) for point in first],
        full,
        distinct=distinct,
        open=open_,
    )
    with Stop() as stop, Keeper(search), hands(black, workers, executor) as working:
        _work(search, working, on_trial, stop)
    return minimum(search.trials(), stop.asked)


def minimum(trials: Sequence[Trial], stopped: bool = False) -> Minimum:
    """What trials found."""
    winner = best(trials)
    return Minimum(winner.point if winner else None, winner.value if winner else None, trials, stopped)


def _work(search: Search, working: Hands, on_trial: Callable[[Trial], None], stop: Stop) -> None:
    """Until nothing is left to do."""
    running: dict[int, Leg] = {}
    errors: list[tuple[Leg, Outcome]] = []
    try:
        while True:
            while len(running) < working.count and (leg := search.take()) is not None:
                running[leg.number] = leg
                working.give(leg)
            if not running:
                if stop.asked or search.over():
                    return
                time.sleep(0.2)  # other processes are at work
            for leg, outcome in working.ended(0.2) if running else ():
                del running[leg.number]
                if outcome is None:
                    _died(search, leg)
                    continue
                if outcome.status == "failed":
                    errors.append((leg, outcome))
                if search.tell(leg, outcome):
                    on_trial(next(t for t in search.trials() if t.number == leg.trial))
                if len(errors) >= HOPELESS and all(t.value is None for t in search.trials()):
                    raise _hopeless(errors)
    except BaseException:  # not an error of the function: somebody insists on the end
        for leg in running.values():
            search.give_back(leg)
        raise


def _died(search: Search, leg: Leg) -> None:
    """The process that had a leg is gone: somebody tries again, but not for ever."""
    search.held.pop(leg.number, None)
    if leg.attempt < RETRIES:
        search.store.close(leg.number, "lost", charge=0.0, message="its process died")
    else:
        search.store.close(leg.number, "failed", message=f"its process died {RETRIES + 1} times")


def _hopeless(errors: Sequence[tuple[Leg, Outcome]]) -> ObjectiveError:
    leg, outcome = errors[-1]
    error = ObjectiveError(
        f"the objective failed at each of the {len(errors)} points that were tried. At the last one, "
        f"{dict(leg.point or {})}: {outcome.message}"
    )
    error.add_note(outcome.trace)
    return error


def _open(budget: Budget, begun: float) -> bool:
    return not budget.timed or time.monotonic() - begun < budget.amount


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
