"""Averages of the weights stand behind all other links and change nothing about training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from steepest.core.chain import Chain, chain
from steepest.core.errors import SteepestError
from steepest.core.rule import Rule
from steepest.core.wrapper import Wrapper
from steepest.wrappers.lookahead import SlowWeights


class WrapperError(SteepestError, ValueError):
    """A wrapper that cannot stand around this rule."""


def averaging(links: Chain) -> Rule | None:
    """The link that evaluates other weights than it trains, if there is one; slow weights may be averaged again."""
    return next((link for link in links if link.averages() and not isinstance(link, SlowWeights)), None)


@dataclass(frozen=True)
class Behind(Wrapper):
    """Links behind all others: they see the whole update, and keep an average of where the weights went."""

    links: Chain
    name: str

    distance: ClassVar[int] = 2
    alone: ClassVar[str] = "evaluates an average of the weights"

    def wrap(self, links: Chain, group: Mapping[str, Any]) -> Chain:
        own = averaging(links)
        if own is not None:
            raise WrapperError(
                f"{self.name} evaluates an average of the weights, and so does {group['method']} by itself "
                f"({type(own).__name__}): of the points at which it takes gradients, an average says nothing. "
                f"Leave {self.name} away."
            )
        return chain(links, self.links)
