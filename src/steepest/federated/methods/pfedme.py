"""pFedMe: each client's own model is the proximal point of its loss at the shared weights."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.local import Found
from steepest.federated.method import Method, Round, Weighting, method


@method
class PFedMe(Method):
    r"""The server minimises the mean of the clients' Moreau envelopes; clients keep the points where these are taken.

    For each batch :math:`\xi` of a client, beginning with :math:`w_i = \theta_i = x`,

    .. math::
        \theta_i \approx \arg\min_\theta f_i(\theta; \xi) + \frac{\lambda}{2} \lVert \theta - w_i \rVert^2, \qquad
        w_i \leftarrow w_i - \eta \lambda (w_i - \theta_i), \qquad
        x \leftarrow (1 - \beta)\,x + \frac{\beta}{|S|} \sum_{i \in S} w_i

    where the argmin is ``inner`` gradient steps on that batch with the learning rate of ``client``.

    Args:
        lam: :math:`\lambda`, in units of a loss over a squared weight.
        eta: :math:`\eta`; :math:`\eta \lambda` is how far :math:`w_i` follows.
        inner: How many steps.
        beta: :math:`\beta`; above 1 the server goes further than the mean.

    Memory: a vector a client, its own model :math:`\theta_i`. ``inner`` gradients a batch.
    Differs from: the paper, where all clients train in every round and some are averaged; here those train that are.
    Source: Dinh, Tran and Nguyen 2020, arXiv:2006.08848, Algorithm 1 and equation (7).

    Example:
        >>> PFedMe(lam=5.0)
        pfedme(lam=5.0)
    """

    lam: float = hyper(15.0, "(0, inf)")
    eta: float = hyper(0.005, "(0, inf)")
    inner: int = hyper(5, "[1, inf)", whole=True)
    beta: float = hyper(1.0, "(0, inf)")
    weighting: Weighting = "equal"

    rows: ClassVar[tuple[str, ...]] = ("theta",)
    starts_at_weights: ClassVar[tuple[str, ...]] = ("theta",)
    personal: ClassVar[bool] = True
    plain_sgd: ClassVar[bool] = True
    bare: ClassVar[bool] = True

    def local(self, round: Round) -> tuple[Tensor, Found]:
        K = round.work.steps
        w = round.w.expand(len(K), -1).clone()
        theta = w.clone()
        losses = torch.zeros(len(K), dtype=torch.float64)
        for step in range(int(K.max())):
            alive = (step < K)[:, None]
            for i in range(self.inner):
                loss, g = round.gradients(step, theta)
                theta = torch.where(alive, theta - round.lr * (g + self.lam * (theta - w)), theta)
                losses += loss if i == 0 else 0.0
            w = torch.where(alive, w - self.eta * self.lam * (w - theta), w)
        round.rows["theta"] = theta
        return round.w, Found(w, {}, K, losses / K.clamp(min=1))

    def finish(self, round: Round) -> Tensor:
        return self.beta * round.mean(round.deltas)

    def own(self, rows: dict[str, Tensor], w: Tensor) -> Tensor:
        return rows["theta"]
