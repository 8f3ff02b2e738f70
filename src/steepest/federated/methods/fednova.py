"""FedNova: clients that took more steps do not count for more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steepest.federated.method import Method, Round, method


@method
class FedNova(Method):
    r"""Updates are divided by what their client's steps add up to, and the mean multiplied by the mean of that.

    .. math:: x \leftarrow x + \Bigl(\sum_i p_i a_i\Bigr) \sum_i p_i \frac{y_i - x}{a_i}

    :math:`a_i` is :math:`\lVert a_i \rVert_1`, the sum of the weights that a client's update gives its gradients, over
    lr: :math:`K_i` for sgd; :math:`\bigl[K_i - \rho (1 - \rho^{K_i}) / (1 - \rho)\bigr] / (1 - \rho)` with momentum
    :math:`\rho`. For other rules, which do not add gradients up, :math:`K_i` is taken.

    Identity: clients with equal numbers of steps make it FedAvg, bit for bit.
    Source: Wang et al. 2020, arXiv:2007.07481, equations (7), (8) and section 4.

    Example:
        >>> FedNova()
        fednova
    """

    def finish(self, round: Round) -> Tensor:
        a = normalisers(dict(self.client.rule.arguments), round.steps.double())
        whole = a[0] + (round.weights * (a - a[0])).sum()
        scale = torch.where(a > 0, whole / a.clamp(min=1e-300), 0.0)
        return round.mean(round.deltas * scale[:, None])


def normalisers(rule: dict[str, Any], K: Tensor) -> Tensor:
    r""":math:`\lVert a_i \rVert_1` of clients that took :math:`K` steps.

    >>> normalisers({"momentum": 0.5}, torch.tensor([1.0, 2.0], dtype=torch.float64)).tolist()
    [1.0, 2.5]
    """
    rho = float(rule.get("momentum") or 0.0)
    if not rho:
        return K
    return (K - rho * (1 - rho**K) / (1 - rho)) / (1 - rho)
