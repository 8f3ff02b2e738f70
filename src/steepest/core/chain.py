"""Several rules one after the other: the direction of one is the gradient of the next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from steepest.core.rule import Rule


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

    def update(self, g: Any, s: tuple[Any, ...], p: Any, k: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Run the first ``len(k)`` links: with fewer scalars than links, this is the prefix that a measure needs."""
        states = []
        for link, s_i, k_i in zip(self.links, s, k, strict=False):
            g, s_i = link.update(g, s_i, p, k_i)
            states.append(s_i)
        return g, tuple(states)

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
