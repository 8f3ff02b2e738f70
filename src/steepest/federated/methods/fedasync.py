"""FedAsync: no rounds; the server moves towards every model that comes in, less far towards an old one."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.errors import FederationError
from steepest.federated.local import Pull
from steepest.federated.method import Method, Round, Weighting, method


@method
class FedAsync(Method):
    r"""Every client's model is mixed in as it comes, and the client is held near the weights it was sent.

    .. math::
        y_i \approx \arg\min_y f_i(y) + \frac{\rho}{2} \lVert y - x_{t - \tau} \rVert^2, \qquad
        x \leftarrow (1 - \alpha s(\tau))\,x + \alpha s(\tau)\,y_i

    where :math:`\tau` is how many steps the server has taken since the client was sent :math:`x_{t - \tau}`, and
    :math:`s` is 1 (``"constant"``), :math:`(1 + \tau)^{-a}` (``"polynomial"``), or 1 up to :math:`\tau = b` and
    :math:`1 / (a (\tau - b) + 1)` above (``"hinge"``). The federation's ``sample`` clients train at any time; its
    ``clock`` says how fast they are, and a round of it is one client's model.

    Args:
        alpha: :math:`\alpha`, in (0, 1].
        staleness: How age counts.
        a: :math:`a`.
        b: :math:`b`.
        rho: :math:`\rho`, in units of a loss over a squared weight.

    Source: Xie, Koyejo and Gupta 2019, arXiv:1903.03934.

    Example:
        >>> FedAsync(staleness="hinge", a=10.0, b=4.0)
        fedasync(staleness='hinge', a=10.0)
    """

    alpha: float = hyper(0.6, "(0, 1]")
    staleness: Literal["polynomial", "hinge", "constant"] = "polynomial"
    a: float = hyper(0.5, "[0, inf)")
    b: float = hyper(4.0, "[0, inf)")
    rho: float = hyper(0.005, "[0, inf)")
    weighting: Weighting = "equal"

    buffer: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.staleness not in ("polynomial", "hinge", "constant"):
            raise FederationError(
                f"{self.name}: staleness is 'polynomial', 'hinge' or 'constant'; given {self.staleness!r}."
            )
        super().__post_init__()

    def begin(self, round: Round) -> tuple[Tensor | None, Pull]:
        return None, Pull(mu=self.rho)

    def share(self, lag: Tensor) -> Tensor:
        r""":math:`s(\tau)`."""
        lag = lag.double()
        if self.staleness == "polynomial":
            return (1 + lag) ** -self.a
        if self.staleness == "hinge":
            return torch.where(lag > self.b, 1 / (self.a * (lag - self.b).clamp(min=0) + 1), 1.0)
        return torch.ones_like(lag)

    def finish(self, round: Round) -> Tensor:
        y = round.start + round.deltas
        return round.mean(self.alpha * self.share(round.lag)[:, None] * (y - round.w))
