"""Ditto: a shared model, and one of its own for each client, held near it."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.local import Pull
from steepest.federated.method import Method, Round, method


@method
class Ditto(Method):
    r"""Beside FedAvg each client trains :math:`v_i` on :math:`f_i(v) + \frac{\lambda}{2} \lVert v - x \rVert^2`.

    The global model is FedAvg's, bit for bit.

    Args:
        lam: :math:`\lambda`, in units of a loss over a squared weight, in [0, inf). 0: clients alone.

    Memory: a vector a client. Every round trains twice.
    Source: Li et al. 2020, arXiv:2012.04221, Algorithm 1.

    Example:
        >>> Ditto(lam=0.5)
        ditto(lam=0.5)
    """

    lam: float = hyper(0.1, "[0, inf)")

    rows: ClassVar[tuple[str, ...]] = ("v",)
    starts_at_weights: ClassVar[tuple[str, ...]] = ("v",)
    personal: ClassVar[bool] = True

    def finish(self, round: Round) -> Tensor:
        found = round.train(round.rows["v"], Pull(mu=self.lam, anchor=round.w))
        round.rows["v"] = found.weights.double().clone()
        return round.mean(round.deltas)

    def own(self, rows: dict[str, Tensor], w: Tensor) -> Tensor:
        return rows["v"]
