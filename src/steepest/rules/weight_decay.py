"""Weight decay as a link; where it stands in the chain says which kind it is."""

from __future__ import annotations

from typing import Any, NamedTuple

from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule


@rule
class WeightDecay(Rule):
    r"""Add a multiple of the parameter to the direction: :math:`u = g + \lambda p`.

    Before the rule it is an L2 penalty (torch's ``Adam(weight_decay=...)``); between the rule and the learning rate it
    is decoupled decay, :math:`\eta\lambda` a step (torch's ``AdamW``); after the learning rate it is fully decoupled
    decay, :math:`\lambda` a step, which no learning-rate schedule touches.

    Args:
        weight_decay: Strength :math:`\lambda`, in [0, inf).

    Shapes: ``g`` and ``p`` share one shape. Memory: none.
    Source: Loshchilov and Hutter 2017, arXiv:1711.05101, Algorithms 1 and 2.

    Example:
        >>> r = WeightDecay(0.1)
        >>> r.update(1.0, r.init(None), 10.0, r.scalars(1))[0]
        2.0
    """

    weight_decay: Scalar = hyper(default=0.0, bounds="[0, inf)")

    class K(NamedTuple):
        weight_decay: Scalar

    def scalars(self, t: Scalar) -> K:
        return self.K(self.weight_decay)

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return g + k.weight_decay * p, s
