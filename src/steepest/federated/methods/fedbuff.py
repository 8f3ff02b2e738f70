"""FedBuff: no rounds; the server steps when so many updates have come, and old ones count for less."""

from __future__ import annotations

from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.method import Method, Round, Weighting, method


@method
class FedBuff(Method):
    r"""The server waits for :math:`K` updates, whoever sends them and whenever their client began.

    .. math:: x \leftarrow x + \frac{1}{K} \sum_{i=1}^{K} (1 + \tau_i)^{-a}\,(y_i - x_{t - \tau_i})

    where :math:`\tau_i` is how many steps the server has taken since the client was sent its weights. The federation's
    ``sample`` clients train at any time; when one is back another begins. Its ``clock`` says how fast they are.

    Args:
        buffer: :math:`K`.
        a: :math:`a`, in [0, inf); 0: age does not matter.

    Identity: where all clients train at once, at one pace, and :math:`K` is their number, it is FedAvg with equal
    weights, bit for bit.
    Source: Nguyen et al. 2021, arXiv:2106.06639 (which scales by :math:`1/\sqrt{1 + \tau}`).

    Example:
        >>> FedBuff(buffer=5)
        fedbuff(buffer=5)
    """

    buffer: int = hyper(10, "[1, inf)", whole=True)  # type: ignore[misc]
    a: float = hyper(0.5, "[0, inf)")
    weighting: Weighting = "equal"

    def finish(self, round: Round) -> Tensor:
        return round.mean(round.deltas * ((1.0 + round.lag.double()) ** -self.a)[:, None])
