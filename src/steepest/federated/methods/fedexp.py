"""FedExP: the server steps further where the clients' updates cancel each other."""

from __future__ import annotations

from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.method import Method, Round, Weighting, method


@method
class FedExP(Method):
    r"""The server's step is extrapolated, by a length that the updates themselves give.

    .. math:: \eta_g = \max\Bigl(1, \frac{\sum_i \lVert \Delta_i \rVert^2}{2 M\,(\lVert \bar\Delta \rVert^2 + \epsilon)}
        \Bigr), \qquad x \leftarrow x + \eta_g \bar\Delta

    Args:
        eps: :math:`\epsilon`, in units of a squared weight, in [0, inf).

    Differs from: the paper, which reports the mean of the last two iterates; here the last one is measured.
    Source: Jhunjhunwala et al. 2023, arXiv:2301.09604, Algorithm 1 and equation (8).

    Example:
        >>> FedExP()
        fedexp
    """

    eps: float = hyper(1e-3, "[0, inf)")
    weighting: Weighting = "equal"

    def finish(self, round: Round) -> Tensor:
        d = round.mean(round.deltas)
        lengths = (round.weights * round.deltas.square().sum(1)).sum()
        factor = max(1.0, float(lengths / (2 * (d.square().sum() + self.eps)))) if float(lengths) else 1.0
        round.notes["server_step"] = factor
        return factor * d
