"""The last link of most chains: scale the direction by the learning rate."""

from __future__ import annotations

from typing import Any, NamedTuple

from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule


@rule
class LearningRate(Rule):
    r"""Scale the direction: :math:`u = \eta\, g`.

    Args:
        lr: Learning rate. In units of parameter per unit of direction, in [0, inf).

    Shapes: any. Memory: none.
    Source: Robbins and Monro 1951, eq. (6) (a step of size :math:`a_n`).

    Example:
        >>> r = LearningRate(0.5)
        >>> r.update(4.0, r.init(None), 0.0, r.scalars(1))[0]
        2.0
    """

    lr: Scalar = hyper(default=1e-3, bounds="[0, inf)")

    class K(NamedTuple):
        lr: Scalar

    def scalars(self, t: Scalar) -> K:
        return self.K(self.lr)

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return k.lr * g, s
