"""DoWG: DoG whose gradients are weighted by the distance at which they were met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum, sqrt, where
from steepest.rules.learning_rate import LearningRate
from steepest.rules.weight_decay import WeightDecay


@rule
class DoWG(Rule):
    r"""Distance over weighted gradients: what was met far from the start counts for more, so steps stay longer.

    .. math::
        r_t^2 = \max(r_{t-1}^2, \|x_t - x_0\|^2), \qquad
        v_t = v_{t-1} + r_t^2 \|g_t\|^2, \qquad
        u_t = \frac{r_t^2}{\sqrt{v_t} + \epsilon}\, g_t, \qquad r_0 = r_\epsilon

    Args:
        r_eps: First distance :math:`r_\epsilon`. In units of the parameters, in (0, inf).
        eps: Keeps the division finite. In units of parameter times gradient, in (0, inf).

    Shapes: ``g``, ``p``, ``u`` and ``x0`` share one shape. Memory: 4 bytes a parameter, and two numbers. Passes over
    memory: two.
    Units: ``u`` is in units of the parameters. ``metrics["step_size"]`` is :math:`r_t^2 / (\sqrt{v_t} + \epsilon)`.
    Differs from: the paper, which has no :math:`\epsilon`; the authors' code and optax add it, and by default take the
    same 1e-4 for :math:`r_\epsilon^2`.
    Source: Khaled, Mishchenko and Jin 2023, arXiv:2305.16284.

    Example:
        >>> rule, p, g = DoWG(r_eps=0.5, eps=1e-9), torch.zeros(2), torch.tensor([0.0, 2.0])
        >>> k, memory = rule.combine(1, rule.start(), [0.0, 4.0])
        >>> rule.update(g, rule.init(p), p, k)[0]
        tensor([0.0000, 0.5000])
    """

    r_eps: Scalar = hyper(default=1e-2, bounds="(0, inf)")
    eps: Scalar = hyper(default=1e-4, bounds="(0, inf)")

    class State(NamedTuple):
        x0: Tensor

    class Memory(NamedTuple):
        r2: Scalar
        v: Scalar

    class K(NamedTuple):
        step_size: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(x0=torch.clone(p))

    def start(self) -> Memory:
        return self.Memory(r2=0.0, v=0.0)

    def measure(self, g: Any, s: State, p: Any, k: Any) -> tuple[Any, ...]:
        d = p - s.x0
        return d * d, g * g

    def combine(self, t: Scalar, memory: Memory, sums: Sequence[Scalar]) -> tuple[K, Memory]:
        distance, square = sums
        r2 = maximum(where(memory.r2 == 0, self.r_eps * self.r_eps, memory.r2), distance)
        v = memory.v + r2 * square
        return self.K(r2 / (sqrt(v) + self.eps)), self.Memory(r2, v)

    def metrics(self, k: K, sums: Sequence[float]) -> dict[str, float]:
        return {"step_size": float(k.step_size)}

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        return k.step_size * g, s


@piece("rule")
def dowg(lr: float = 1.0, r_eps: float = 1e-2, eps: float = 1e-4, weight_decay: float = 0.0) -> Chain:
    """DoWG with an L2 penalty: SGD that finds its step size, at the edge of stability.

    ``lr`` multiplies what it found.

    Family: learning-rate-free
    Usual lr: 1
    Use when: dog's steps become too short, or the loss is smooth and gradients have little noise.
    Not when: gradients are noisy: nothing lets its steps decay but a schedule.
    Source: arXiv:2305.16284.
    """
    return chain(WeightDecay(weight_decay), DoWG(r_eps, eps), LearningRate(lr))
