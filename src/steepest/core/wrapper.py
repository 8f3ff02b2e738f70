"""What a wrapper is: something that stands around any rule of a strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from steepest.core.ahead import Ahead
from steepest.core.chain import Chain, chain
from steepest.core.ending import Ending
from steepest.core.rule import Rule

if TYPE_CHECKING:
    from steepest.core.optimizer import Optimizer

Closure = Callable[[], Any]
"""Clears the gradients, computes the loss, calls ``backward`` and returns the loss."""


@dataclass(frozen=True)
class Wrapper:
    """A value that changes how any rule is run; a subclass overrides what it needs.

    :meth:`wrap` adds links to the rule's chain (averages, masks, other kinds of decay), which run in the same pass.
    :meth:`gradient` is for methods that take more than one gradient a step (sharpness-aware minimisation).
    :meth:`ready` is for those that do not step on every call (gradient accumulation).
    """

    needs_closure: ClassVar[bool] = False
    """Whether :meth:`gradient` calls the closure more than once, so that ``step()`` cannot do without it."""
    distance: ClassVar[int] = 0
    """How far outside it stands, whatever the written order: 0 among the rule's links, 1 behind them (it moves the
    weights again), 2 behind everything (it only looks at where the weights went)."""
    alone: ClassVar[str] = ""
    """What it does that no second wrapper of a strategy may do, in words; empty: any number may."""
    finds_length: ClassVar[bool] = False
    """Whether it finds the length of steps, as some rules do by themselves."""
    spares: ClassVar[bool] = False
    """Whether vectors (biases, normalisation) are to have a group of their own, whose name ends in ``no_decay``."""
    knows_new: ClassVar[bool] = False
    """Whether what is new in a pretrained model (its output layer) is to have groups of its own: ``new/...``."""
    keeps: ClassVar[tuple[str, ...]] = ()
    """Names of tensors that it keeps in ``optimizer.state[parameter]``, to be saved and restored."""

    def wrap(self, links: Chain, group: Mapping[str, Any]) -> Chain:
        """The rule's chain with links added; ``group`` has the hyperparameters, and ``initial_lr`` under a schedule."""
        return links

    def gradient(self, optimizer: Optimizer, closure: Closure) -> Any:
        """Fill ``.grad`` for the step and return its loss."""
        return closure()

    def ahead(self, optimizer: Optimizer) -> Ahead | None:
        """What looks ahead now and then, made once for an optimizer; None for most."""
        return None

    def ending(self) -> Ending | None:
        """What may end a run early, made once for an optimizer; None for most."""
        return None

    def ready(self, optimizer: Optimizer) -> bool:
        """Whether to take the step now, with the gradients as they are."""
        return True

    @property
    def calls(self) -> int:
        """How many calls of ``step()`` make one step."""
        return 1


def before(kinds: type[Rule] | tuple[type[Rule], ...], links: Chain, *new: Rule) -> Chain:
    """The chain with links put in front of the last run of links of some kinds, else at its end.

    >>> from steepest.rules import LearningRate, Lion, WeightDecay
    >>> from steepest.core.chain import Mark
    >>> made = before((WeightDecay, LearningRate), chain(WeightDecay(), Lion(), WeightDecay(), LearningRate()), Mark())
    >>> [type(link).__name__ for link in made]
    ['WeightDecay', 'Lion', 'Mark', 'WeightDecay', 'LearningRate']
    """
    at = len(links)
    while at and isinstance(links.links[at - 1], kinds):
        at -= 1
    return chain(*links.links[:at], *new, *links.links[at:])
