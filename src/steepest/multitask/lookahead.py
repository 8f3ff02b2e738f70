"""What a step for one task does to the others: affinity from one-step probes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from steepest.multitask.graph import anatomy, check
from steepest.multitask.method import MultiTaskError

Losses = Callable[[], Mapping[str, Tensor]]


def lookahead(
    losses: Losses,
    shared: nn.Module | Iterable[Tensor] | None = None,
    *,
    lr: float | None = None,
    length: float | None = None,
) -> Tensor:
    r"""How much a step for task i lowers the loss of task j on the same batch, as a share of it.

    .. math::
        Z_{ij} = 1 - \frac{L_j(\theta_s - \eta \nabla_{\theta_s} L_i, \theta_j)}{L_j(\theta_s, \theta_j)}

    Only the shared parameters :math:`\theta_s` move; they are put back afterwards, bit for bit. One probe says little:
    average some over the training (:func:`alike` makes cosine-like numbers of the mean, for :func:`cluster`).

    Args:
        losses: Computes the losses by name, from a fixed batch and with the same random numbers each time; it is called
            once for each task and once more. What a forward pass changes, as batch norm's statistics, is the caller's.
        shared: The parameters that move; None: those that two losses or more depend on.
        lr: :math:`\eta`, for steps as gradient descent takes them: a task with a large gradient has a large step.
        length: Steps of this length instead, so that tasks are compared alike.

    Returns:
        ``[m, m]``, float64, in the order of the losses; row i is the step of task i.

    Cost: a backward and a forward pass for each task.
    Source: Fifty et al. 2021, arXiv:2109.04617, equation (1).

    >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> lookahead(lambda: {"a": w[0] ** 2, "b": w.sum() ** 2}, lr=0.1).mul(100).round()
    tensor([[36., 19.],
            [64., 64.]], dtype=torch.float64)
    """
    if (lr is None) == (length is None):
        raise MultiTaskError(f"give lr or length, one of them; got lr={lr!r}, length={length!r}.")
    size = lr if length is None else length
    if not isinstance(size, (int, float)) or isinstance(size, bool) or not math.isfinite(size) or size <= 0:
        raise MultiTaskError(f"a step is a number above 0; got {size!r}.")
    given = list(shared.parameters()) if isinstance(shared, nn.Module) else shared and list(shared)
    with torch.enable_grad():
        before = losses()
        values = check(before)
        params = anatomy(before, given).shared
        if not params:
            raise MultiTaskError(f"the losses {', '.join(before)} share no parameter, so none can help another.")
        grads = [torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True) for loss in values]
    L = torch.stack([loss.detach().double().reshape(()) for loss in values])
    kept = [p.detach().clone() for p in params]
    Z = []
    with torch.no_grad():
        for g in grads:
            norm = math.sqrt(sum(float(x.double().square().sum()) for x in g if x is not None))
            scale = size if length is None else size / norm if norm else 0.0
            try:
                for p, x in zip(params, g, strict=True):
                    if x is not None:
                        p.sub_(x, alpha=scale)
                after = losses()
            finally:
                for p, old in zip(params, kept, strict=True):
                    p.copy_(old)
            Z.append(1 - torch.stack([after[name].double().reshape(()) for name in before]) / L)
    return torch.stack(Z)


def alike(Z: Tensor) -> Tensor:
    r"""Probes as numbers like cosines: how much a step for i lowers loss j, as a share of what j's own step does.

    Both directions are averaged, and what is beyond -1 or 1 is cut; a task that its own step does not help is
    like none.

    >>> alike(torch.tensor([[0.4, 0.1], [0.3, 0.2]]).double())
    tensor([[1.0000, 0.6250],
            [0.6250, 1.0000]], dtype=torch.float64)
    """
    own = Z.diagonal()
    share = torch.where(own > 0, Z / torch.where(own > 0, own, 1.0), 0.0)
    S = ((share + share.mT) / 2).clamp(-1, 1)
    return S - torch.diag(S.diagonal()) + torch.eye(len(S), dtype=S.dtype, device=S.device)
