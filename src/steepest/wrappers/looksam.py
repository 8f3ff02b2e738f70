"""LookSAM: SAM's second gradient now and then, and what it showed in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from steepest.core.errors import HyperparameterError
from steepest.core.piece import piece
from steepest.core.wrapper import Closure, Wrapper
from steepest.wrappers.replay import Replay
from steepest.wrappers.sam import Climb
from steepest.wrappers.sharpness import Sharpness, climbed, trained
from steepest.wrappers.vectors import dot
from steepest.wrappers.whole import whole

if TYPE_CHECKING:
    from steepest.core.optimizer import Optimizer

KEPT = "sharpness"


@dataclass(frozen=True)
class Look(Sharpness):
    """Keeps the part of SAM's gradient at right angles to the plain one, and adds it while it is fresh."""

    every: int
    alpha: float

    keeps: ClassVar[tuple[str, ...]] = (KEPT,)

    def gradient(self, optimizer: Optimizer, closure: Closure) -> Any:
        """The loss at the weights; every so many steps SAM's gradient, else the plain one with the part kept."""
        again = Replay(optimizer)
        loss = closure()
        params, state = trained(optimizer), optimizer.state
        plain = [p.grad for p in params if p.grad is not None]
        if optimizer.steps % self.every:
            known = [(g, state[p][KEPT]) for p, g in zip(params, plain, strict=True) if KEPT in state[p]]
            kept = [v for _, v in known]
            length = dot(kept, kept) ** 0.5
            if length:
                torch._foreach_add_(
                    [g for g, _ in known], torch._foreach_mul(kept, self.alpha * dot(plain, plain) ** 0.5 / length)
                )
            return loss
        plain = [g.clone() for g in plain]
        with climbed(optimizer, self.climb) as there:
            if not there:
                return loss
            with again:
                closure()
        with torch.no_grad():
            above = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
            length = dot(plain, plain)
            along = dot(above, plain) / length if length else 0.0
            for p, a, g in zip(params, above, plain, strict=True):
                state[p][KEPT] = a - along * g
        return loss


@piece("wrapper")
def looksam(rho: float = 0.1, every: int = 5, alpha: float = 0.7) -> Wrapper:
    """SAM's gradient every few steps; in between the plain gradient, bent the way that SAM's was bent.

    ``every=1`` is ``sam``. A step costs ``1 + 1 / every`` gradients on average; ``step(closure)``.

    Args:
        rho: Radius of the neighbourhood.
        every: Steps from one second gradient to the next.
        alpha: Length of what is added, relative to the plain gradient.

    Use when: SAM helps and its cost hurts; batches large enough that the bend holds for a few steps.
    Not when: memory is short: it keeps 4 bytes a parameter.
    Differs from: pytorch_optimizer, which takes norms and angles tensor by tensor; the paper takes them over the model.
    Source: arXiv:2203.02714.
    """
    if not alpha >= 0:
        raise HyperparameterError(f"looksam: alpha={alpha!r} is outside [0, inf). The default is 0.7.")
    return Look(Climb(rho), whole("looksam: every", every), alpha)
