"""Several rules one after the other: the direction of one is the gradient of the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor

from steepest.core.rule import Estimator, Nothing, Rule, rule


@dataclass(frozen=True)
class Chain:
    """Rules applied in order. Its state, memory and scalars are tuples with one entry a link.

    >>> from steepest.rules import Lion, LearningRate
    >>> chain(Lion(), chain(LearningRate(0.1))) == chain(Lion(), LearningRate(0.1))
    True
    """

    links: tuple[Rule, ...]

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.links)

    def __len__(self) -> int:
        return len(self.links)

    def init(self, p: Tensor) -> tuple[Any, ...]:
        """The state of every link before the first step."""
        return tuple(link.init(p) for link in self.links)

    def start(self) -> tuple[Any, ...]:
        """The memory of every link before the first step."""
        return tuple(link.start() for link in self.links)

    def run(self, g: Any, s: tuple[Any, ...], p: Any, k: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], Any]:
        """Run the first ``len(k)`` links; also the gradient as the last of them that marks it saw it."""
        states = []
        raw = g
        for link, s_i, k_i in zip(self.links, s, k, strict=False):
            if link.marks:
                raw = g
            extra = (raw,) if link.reads_gradient else ()
            g, s_i = link.update(g, s_i, p, k_i, *extra)
            states.append(s_i)
        return g, tuple(states), raw

    def update(self, g: Any, s: tuple[Any, ...], p: Any, k: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """``(direction, new state)`` of the first ``len(k)`` links."""
        return self.run(g, s, p, k)[:2]

    def measure(self, i: int, g: Any, s: tuple[Any, ...], p: Any, k: tuple[Any, ...]) -> tuple[Any, ...]:
        """What link ``i`` wants summed, seen after the links before it."""
        before, _, raw = self.run(g, s, p, k[:i])
        extra = (raw,) if self.links[i].reads_gradient else ()
        return self.links[i].measure(before, s[i], p, k[i], *extra)

    def curvature(self, t: int) -> Estimator | None:
        """Which estimate of the curvature a link wants before step ``t``."""
        return next((name for link in self.links if (name := link.curvature(t))), None)

    @cached_property
    def curved(self) -> bool:
        """Whether a link asks for the curvature now and then."""
        return any(link.curved() for link in self.links)

    def absorb(self, h: Tensor, s: tuple[Any, ...], p: Tensor, t: int) -> tuple[Any, ...]:
        """The new state, given an estimate of the curvature."""
        return tuple(
            link.absorb(h, s_i, p, t) if link.curvature(t) else s_i for link, s_i in zip(self.links, s, strict=True)
        )

    def evaluated(self, p: Tensor, s: tuple[Any, ...], t: int) -> Tensor:
        """The weights to evaluate, after ``t`` steps: each link may average those of the links before it."""
        for link, s_i in zip(self.links, s, strict=True):
            p = link.evaluated(p, s_i, t)
        return p

    @property
    def averages(self) -> bool:
        """Whether the weights to evaluate differ from those that are trained."""
        return any(link.averages() for link in self.links)

    @cached_property
    def structure(self) -> tuple[Any, ...]:
        """What a compiled kernel depends on."""
        return tuple(link.structure() for link in self.links)

    @property
    def elementwise(self) -> bool:
        """Whether memory layout is all that matters: every entry is updated from the same entry of the others."""
        return all(link.scope == "element" for link in self.links)

    def stages(self) -> list[list[int]]:
        """The links that measure, in rounds: a link waits for every measuring link before it that changes ``g``."""
        rounds: list[list[int]] = []
        ready = 0
        for i, link in enumerate(self.links):
            if not link.measures():
                continue
            while len(rounds) <= ready:
                rounds.append([])
            rounds[ready].append(i)
            if not link.transparent:
                ready += 1
        return rounds


def chain(*parts: Rule | Chain) -> Chain:
    """Join rules and chains into one chain (associative: nesting does not matter)."""
    links: list[Rule] = []
    for part in parts:
        links.extend(part.links if isinstance(part, Chain) else (part,))
    return Chain(tuple(links))


@rule
class Mark(Rule):
    r"""Remember the gradient that comes by, :math:`u = g`, for the links behind that read it.

    Shapes: any. Memory: none.
    Source: ours; cautious updates and Mechanic compare a rule's direction with the gradient it was made from.

    Example:
        >>> Mark().update(3.0, Nothing(), 0.0, Nothing())[0]
        3.0
    """

    marks: ClassVar[bool] = True

    def update(self, g: Any, s: Nothing, p: Any, k: Nothing) -> tuple[Any, Nothing]:
        return g, s
