"""The search of one arm on one task: which trials to run next, and which setting they choose. No run is started here.

The N trials of an arm go in three rounds. Half of them cover the space evenly. A quarter goes on, in a space that is
longer at every end that the best point so far is near to (within 10 % of the range): half of them beyond the old end.
The last quarter repeats the best settings on another seed, the best first, because the best of many on one seed is
partly the luckiest; the setting with the best mean over both seeds is chosen. All trials of a round, in every arm, have
the same seed, so they differ by their settings alone; none of these seeds is one of the final runs.

A trial is a whole run, with its own schedule to its end. Every trial that was begun is charged, however it ended; one
that diverged or failed is worse than any that did not. Extensions are paid from the same N.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from steepest.compare.arms import Arm
from steepest.strategy.space import Point, Space, space

ROUNDS = ("cover", "extend", "repeat")
TUNING_SEED = 1_000_000
"""Seeds of trials begin here: far above those of final runs."""


@dataclass(frozen=True)
class Trial:
    """One run of a search."""

    number: int
    round: int
    seed: int
    which: int
    """Which of the arm's spaces it comes from."""
    point: Point
    strategy: str
    repeats: int | None = None
    """The number of the trial whose setting it repeats on another seed."""

    def record(self) -> dict[str, Any]:
        """Plain data."""
        return dict(vars(self))


@dataclass
class Round:
    """The spaces as they stood in a round, and its trials."""

    spaces: tuple[str, ...]
    trials: list[Trial]
    extended: list[str] = field(default_factory=list)
    """Which ends were moved before it, in words."""

    def record(self) -> dict[str, Any]:
        """Plain data."""
        trials = [t.record() for t in self.trials]
        return {"spaces": list(self.spaces), "extended": self.extended, "trials": trials}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Round:
        """From a record."""
        return cls(tuple(record["spaces"]), [Trial(**t) for t in record["trials"]], list(record["extended"]))


Costs = Mapping[int, float]
"""What each trial came to, by number: smaller is better, infinity for one that diverged or failed."""


def rounds(trials: int) -> tuple[int, int, int]:
    """How many trials each round has.

    >>> [rounds(n) for n in (1, 2, 4, 8, 10, 25)]
    [(1, 0, 0), (1, 1, 0), (2, 1, 1), (4, 2, 2), (5, 3, 2), (13, 6, 6)]
    """
    cover = math.ceil(trials / 2)
    extend = math.ceil((trials - cover) / 2)
    return cover, extend, trials - cover - extend


def propose(arm: Arm, trials: int, before: Sequence[Round], costs: Costs, seed: int = 0) -> Round:
    """The next round, from those before it and what came of them; it depends on nothing else."""
    number = len(before)
    size = rounds(trials)[number]
    earlier = [t for r in before for t in r.trials]
    spaces = tuple(space(text) for text in before[-1].spaces) if before else arm.spaces
    if number == 2 and (ranked := ranking(earlier, costs)):
        return Round(tuple(map(str, spaces)), _repeated(ranked, size, len(earlier), seed))
    windows: list[dict[str, tuple[float, float]]] = [{} for _ in spaces]
    said: list[str] = []
    if number == 1 and (ranked := ranking(earlier, costs)):
        best = ranked[0]
        longer, windows[best.which], said = extend(spaces[best.which], best.point)
        spaces = (*spaces[: best.which], longer, *spaces[best.which + 1 :])
    stream = [seed, number, *([1] if arm.kind == "random" else [])]
    made = _drawn(spaces, windows, size, stream)
    numbered = [
        Trial(len(earlier) + i, number, trial_seed(seed, 0), which, point, str(spaces[which].at(point)))
        for i, (which, point) in enumerate(made)
    ]
    return Round(tuple(map(str, spaces)), numbered, said)


def trial_seed(seed: int, which: int) -> int:
    """The seed of trials; ``which`` is 0 for all but repetitions."""
    return TUNING_SEED + 1000 * seed + which


def ranking(trials: Sequence[Trial], costs: Costs) -> list[Trial]:
    """The distinct settings that came to something, best first."""
    first = [t for t in trials if t.repeats is None and math.isfinite(costs[t.number])]
    return sorted(first, key=lambda t: (costs[t.number], t.number))


def choose(before: Sequence[Round], costs: Costs) -> tuple[Trial | None, float]:
    """The chosen setting and its mean cost: of those that were repeated, where any were; None where all were lost."""
    trials = [t for r in before for t in r.trials]
    runs: dict[int, list[float]] = {}
    for t in trials:
        runs.setdefault(t.number if t.repeats is None else t.repeats, []).append(costs[t.number])
    most = {number: values for number, values in runs.items() if len(values) > 1} or runs
    means = {number: sum(values) / len(values) for number, values in most.items()}
    means = {number: mean for number, mean in means.items() if math.isfinite(mean)}
    if not means:  # repeated settings all broke on the second seed: the best single run stands
        left = ranking(trials, costs)
        return (left[0], costs[left[0].number]) if left else (None, math.inf)
    best = min(means, key=lambda number: (means[number], number))
    return next(t for t in trials if t.number == best), means[best]


def extend(searched: Space, point: Point) -> tuple[Space, dict[str, tuple[float, float]], list[str]]:
    """The space made longer at the ends that a point is near to, where to draw in it, and words for it."""
    windows: dict[str, tuple[float, float]] = {}
    said: list[str] = []
    longer = searched
    for path, end in searched.near_edges(point):
        longer = longer.extended(path, end)
        old, new = searched.dimensions[path], longer.dimensions[path]
        edge: float = old.low if end == "low" else old.high  # type: ignore[union-attr]
        beyond = new.place(edge) if end == "low" else 1 - new.place(edge)
        windows[path] = (0.0, min(1.0, 2 * beyond)) if end == "low" else (max(0.0, 1 - 2 * beyond), 1.0)
        said.append(f"{path} from {old} to {new}")
    return longer, windows, said


def _repeated(ranked: Sequence[Trial], size: int, start: int, seed: int) -> list[Trial]:
    """The best settings once more, on another seed; on a third one where there are fewer settings than trials."""
    settings = ranked[:size]
    return [
        Trial(start + i, 2, trial_seed(seed, 1 + i // len(settings)), t.which, t.point, t.strategy, t.number)
        for i, t in ((i, settings[i % len(settings)]) for i in range(size))
    ]


def _drawn(
    spaces: Sequence[Space], windows: Sequence[Mapping[str, tuple[float, float]]], n: int, stream: Sequence[int]
) -> list[tuple[int, Point]]:
    """Points of one space, or of several in turn in random order."""
    if len(spaces) == 1:
        return [(0, point) for point in spaces[0].sample(n, stream, windows[0])]
    draw = numpy.random.default_rng([*stream, 2])
    order = [int(w) for _ in range(-(-n // len(spaces))) for w in draw.permutation(len(spaces))][:n]
    points = {w: iter(spaces[w].sample(order.count(w), stream, windows[w])) for w in set(order)}
    return [(w, next(points[w])) for w in order]
