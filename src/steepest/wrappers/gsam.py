"""Surrogate-gap guided SAM: also close the gap between the worst loss nearby and the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from steepest.core.errors import HyperparameterError
from steepest.core.piece import piece
from steepest.core.wrapper import Closure, Wrapper
from steepest.wrappers.replay import Replay
from steepest.wrappers.sam import Climb
from steepest.wrappers.sharpness import Sharpness, climbed, trained
from steepest.wrappers.vectors import dot

if TYPE_CHECKING:
    from steepest.core.optimizer import Optimizer


@dataclass(frozen=True)
class Gap(Sharpness):
    """Descend along the gradient from above, and ascend along what the gradient below has at right angles to it."""

    alpha: float

    def gradient(self, optimizer: Optimizer, closure: Closure) -> Any:
        """The loss at the weights, and the gradient from above them, less a part of the one below."""
        again = Replay(optimizer)
        loss = closure()
        params = trained(optimizer)
        below = [p.grad.clone() for p in params if p.grad is not None]
        with climbed(optimizer, self.climb) as there:
            if not there:
                return loss
            with again:
                closure()
        with torch.no_grad():
            pairs = [(p.grad, b) for p, b in zip(params, below, strict=True) if p.grad is not None]
            above, below = [a for a, _ in pairs], [b for _, b in pairs]
            length = dot(above, above)
            along = dot(above, below) / length if length else 0.0
            torch._foreach_mul_(above, 1 + self.alpha * along)
            torch._foreach_add_(above, below, alpha=-self.alpha)
        return loss


@piece("wrapper")
def gsam(rho: float = 0.05, alpha: float = 0.4) -> Wrapper:
    """SAM's gradient, less alpha times the part of the plain gradient at right angles to it; two gradients a step.

    That part leaves the worst loss nearby as it is, to first order, and raises the loss in the middle: the gap between
    them, a measure of sharpness, closes. With ``alpha=0`` it is ``sam``. The paper lets rho follow the learning rate:
    ``... | cosine() | cosine(on="rho")``.

    Args:
        rho: Radius of the neighbourhood.
        alpha: Weight of the part at right angles, in [0, inf); between 0 and 1 as a rule.

    Use when: SAM helps and its rho is tuned; nothing more to pay but 4 bytes a parameter during the step.
    Not when: SAM does not help.
    Source: arXiv:2203.08065.
    """
    if not alpha >= 0:
        raise HyperparameterError(f"gsam: alpha={alpha!r} is outside [0, inf). The default is 0.4.")
    return Gap(Climb(rho), alpha)
