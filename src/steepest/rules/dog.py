"""DoG and LDoG: the distance walked so far, over the gradients met on the way, is the step size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum, sqrt, where
from steepest.rules.learning_rate import LearningRate
from steepest.rules.weight_decay import WeightDecay


@rule
class DoG(Rule):
    r"""Distance over gradients: SGD whose steps grow with the distance from the start and shrink with what was met.

    .. math::
        r_t = \max(r_{t-1}, \|x_t - x_0\|), \qquad
        G_t = G_{t-1} + \|g_t\|^2, \qquad
        u_t = \frac{r_t}{\sqrt{G_t + \epsilon}}\, g_t, \qquad
        r_0 = r_\epsilon (1 + \|x_0\|)

    Norms are over the model; with ``layerwise`` (LDoG) over one tensor, which then has a step size of its own.

    Args:
        r_eps: First distance :math:`r_\epsilon`, relative to :math:`1 + \|x_0\|`. Unitless, in (0, inf). The authors
            take 1e-6, and 1e-4 for models with batch normalisation.
        eps: Keeps the division finite. In units of the squared gradient, in (0, inf).
        layerwise: A step size for each tensor (LDoG) instead of one for all.

    Shapes: ``g``, ``p``, ``u`` and ``x0`` share one shape. Memory: 4 bytes a parameter, and two numbers (a tensor, with
    ``layerwise``). Passes over memory: two.
    Units: ``u`` is in units of the parameters. ``metrics["step_size"]`` is :math:`r_t / \sqrt{G_t + \epsilon}`.
    Differs from: the authors' code, which keeps one distance for each parameter group where ours is over all of them
    (as optax's), and stops with an error where a gradient is missing: here norms are over what has one.
    Source: Ivgi, Hinder and Carmon 2023, arXiv:2302.12022, the DoG step size and L-DoG.

    Example:
        >>> rule, p, g = DoG(r_eps=0.1), torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])
        >>> k, memory = rule.combine(1, rule.start(), [0.0, 4.0, 25.0])
        >>> rule.update(g, rule.init(p), p, k)[0]
        tensor([0.0000, 0.6000])
    """

    r_eps: Scalar = hyper(default=1e-6, bounds="(0, inf)")
    eps: Scalar = hyper(default=1e-8, bounds="(0, inf)")
    layerwise: bool = False

    class State(NamedTuple):
        x0: Tensor

    class Memory(NamedTuple):
        r: Scalar
        G: Scalar

    class K(NamedTuple):
        step_size: Scalar

    @property
    def reach(self) -> Literal["tensor", "model"]:  # type: ignore[override]
        return "tensor" if self.layerwise else "model"

    def init(self, p: Tensor) -> State:
        return self.State(x0=torch.clone(p))

    def start(self) -> Memory:
        return self.Memory(r=0.0, G=0.0)

    def measure(self, g: Any, s: State, p: Any, k: Any) -> tuple[Any, ...]:
        d = p - s.x0
        return d * d, g * g, s.x0 * s.x0

    def combine(self, t: Scalar, memory: Memory, sums: Sequence[Scalar]) -> tuple[K, Memory]:
        distance, square, start = sums
        r = where(memory.r == 0, self.r_eps * (1 + sqrt(start)), memory.r)
        now = self.Memory(r=maximum(r, sqrt(distance)), G=memory.G + square)
        return self.K(now.r / sqrt(now.G + self.eps)), now

    def metrics(self, k: K, sums: Sequence[Scalar]) -> dict[str, Scalar]:
        return {"step_size": k.step_size}

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        return k.step_size * g, s


@piece("rule")
def dog(
    lr: float = 1.0, r_eps: float = 1e-6, eps: float = 1e-8, weight_decay: float = 0.0, layerwise: bool = False
) -> Chain:
    """DoG with an L2 penalty: SGD that finds its step size.

    ``lr`` multiplies what it found; ``layerwise=True`` is LDoG. The authors evaluate an average of the weights, because
    the steps never decay: put an averaging wrapper around it, or a schedule that ends at 0.

    Family: learning-rate-free
    Usual lr: 1
    Use when: SGD suits the model, nobody has tuned its learning rate, and the weights are averaged.
    Not when: a tuned rule is at hand, or you would trust it unseen: compare it with adamw at equal budgets
    (arXiv:2505.24005).
    Source: arXiv:2302.12022.
    """
    return chain(WeightDecay(weight_decay), DoG(r_eps, eps, layerwise), LearningRate(lr))


@piece("rule")
def ldog(lr: float = 1.0, r_eps: float = 1e-6, eps: float = 1e-8, weight_decay: float = 0.0) -> Chain:
    """LDoG, a step size for each tensor, with an L2 penalty: ``dog(..., layerwise=True)``.

    Family: learning-rate-free
    Usual lr: 1
    Use when: dog would do and the layers of the model differ in scale; the authors find it the better of the two for
    fine-tuning (arXiv:2302.12022).
    Not when: tensors start at 0: their first steps are ``r_eps`` long.
    Source: arXiv:2302.12022.
    """
    return chain(WeightDecay(weight_decay), DoG(r_eps, eps, True), LearningRate(lr))
