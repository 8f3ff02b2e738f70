"""FedProx: clients are held near where they started."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.local import Pull
from steepest.federated.method import Method, Round, method


@method
class FedProx(Method):
    r"""Every client's loss has :math:`\frac{\mu}{2} \lVert y - x \rVert^2` more: squared, over trained weights.

    Args:
        mu: :math:`\mu`, in units of a loss over a squared weight, in [0, inf).

    Identity: with ``mu=0`` it is FedAvg, bit for bit. The fixed point stays biased where clients differ.
    Source: Li et al. 2018, arXiv:1812.06127, equation (2) and Algorithm 2.

    Example:
        >>> FedProx(mu=0.1)
        fedprox(mu=0.1)
    """

    mu: float = hyper(0.01, "[0, inf)")

    only_mean: ClassVar[bool] = True

    def begin(self, round: Round) -> tuple[Tensor | None, Pull]:
        return None, Pull(mu=self.mu)
