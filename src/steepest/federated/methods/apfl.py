"""APFL: each client mixes the shared model with one of its own, and finds out how much of each."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.local import Found
from steepest.federated.method import Method, Round, method


@method
class Apfl(Method):
    r"""A client's model is :math:`\bar v = \alpha v + (1 - \alpha)\,w`; the shared :math:`w` is FedAvg's.

    .. math::
        w \leftarrow w - \eta \nabla f_i(w), \qquad
        v \leftarrow v - \eta \alpha \nabla f_i(\bar v), \qquad
        \alpha \leftarrow \alpha - \eta \langle v - w, \nabla f_i(\bar v) \rangle

    all at once, for each batch; :math:`\alpha` stays in [0, 1].

    Args:
        alpha: Where :math:`\alpha` begins.
        learn: Whether it moves.

    Memory: a vector and a number a client. Two gradients a step.
    Identity: the global model is FedAvg's; with ``alpha=0`` that stays, so is everybody's own.
    Differs from: FedJAX, whose :math:`v` steps along :math:`\nabla f_i(\bar v)` without the factor :math:`\alpha`; here
    it is the gradient with respect to :math:`v`.
    Source: Deng, Kamani and Mahdavi 2020, arXiv:2003.13461, Algorithm 1; :math:`\alpha`: section 4.2.

    Example:
        >>> Apfl(alpha=0.25, learn=False)
        apfl(alpha=0.25, learn=False)
    """

    alpha: float = hyper(0.5, "[0, 1]")
    learn: bool = True

    rows: ClassVar[tuple[str, ...]] = ("v", "shift")
    starts_at_weights: ClassVar[tuple[str, ...]] = ("v",)
    lengths: ClassVar[dict[str, int]] = {"shift": 1}
    personal: ClassVar[bool] = True
    plain_sgd: ClassVar[bool] = True
    bare: ClassVar[bool] = True

    def local(self, round: Round) -> tuple[Tensor, Found]:
        K = round.work.steps
        w = round.w.expand(len(K), -1).clone()
        v, a = round.rows["v"], self.alpha + round.rows["shift"]
        losses = torch.zeros(len(K), dtype=torch.float64)
        for step in range(int(K.max())):
            alive = (step < K)[:, None]
            loss, g = round.gradients(step, w)
            _, h = round.gradients(step, a * v + (1 - a) * w)
            moved = (a - round.lr * ((v - w) * h).sum(1, keepdim=True)).clamp(0, 1) if self.learn else a
            v = torch.where(alive, v - round.lr * a * h, v)
            w = torch.where(alive, w - round.lr * g, w)
            a = torch.where(alive, moved, a)
            losses += loss
        round.rows["v"], round.rows["shift"] = v, a - self.alpha
        return round.w, Found(w, {}, K, losses / K.clamp(min=1))

    def own(self, rows: dict[str, Tensor], w: Tensor) -> Tensor:
        a = self.alpha + rows["shift"]
        return a * rows["v"] + (1 - a) * w
