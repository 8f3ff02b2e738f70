"""FedAvg: clients train, the server steps along the mean of what they changed."""

from __future__ import annotations

from typing import ClassVar

from steepest.federated.method import Method, method


@method
class FedAvg(Method):
    r"""The mean of the clients' updates, handed to any rule.

    .. math:: x \leftarrow x - \mathrm{server}\Bigl(-\sum_i p_i\,(y_i - x)\Bigr)

    With ``server=sgd(lr=1)`` this is averaging of models. Other rules make other known methods: ``sgd(lr=1,
    momentum=0.9)`` FedAvgM, ``adam`` FedAdam, ``yogi`` FedYogi, ``adagrad`` FedAdagrad, ``lion`` FedLion. A
    client of ``sgd(lr=0.1) | sam(rho=0.05)`` makes FedSAM.

    Source: McMahan et al. 2017, arXiv:1602.05629, Algorithm 1; Hsu et al. 2019, arXiv:1909.06335 (momentum); Reddi et
    al. 2020, arXiv:2003.00295, Algorithm 2 (adaptive servers).

    Example:
        >>> FedAvg(server="adam(lr=0.01, eps=0.001)")
        fedavg(server=adam(lr=0.01, eps=0.001))
    """

    only_mean: ClassVar[bool] = True
