"""Sophia: momentum over the Hessian's diagonal, each entry clipped."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Estimator, Rule, Scalar, hyper, rule
from steepest.rules.betas import pair
from steepest.rules.learning_rate import LearningRate
from steepest.rules.weight_decay import WeightDecay


@rule
class Sophia(Rule):
    r"""Newton's step on a diagonal Hessian, from averages, and never longer than 1 in any entry.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        u_t = \mathrm{clip}\left(\frac{m_t}{\max(\gamma h_t, \epsilon)}, -1, 1\right)

    and before the steps :math:`t = 1, 1 + k, 1 + 2k, \dots`, from an estimate :math:`\hat h` of the Hessian's diagonal,

    .. math::
        h \leftarrow \beta_2 h + (1 - \beta_2) \hat h

    Where :math:`h` is not positive the step is the sign of the momentum.

    Args:
        beta1: Weight of the past in the momentum. Unitless, in [0, 1).
        beta2: Weight of the past in the curvature, at each estimate. Unitless, in [0, 1).
        gamma: Scales the curvature: smaller, and more entries are clipped (the authors aim at 50 to 90%). In (0, inf).
        eps: Keeps the division finite. In units of the gradient, in (0, inf).
        every: Steps :math:`k` from estimate to estimate. In [1, inf).
        estimator: ``"hutchinson"``: signs, one product with the Hessian (Sophia-H). ``"gauss-newton-bartlett"``: labels
            drawn from the model, one more gradient, for classifiers (Sophia-G).

    Shapes: any. Memory: 8 bytes a parameter.
    Units: ``u`` is unitless and at most 1: the learning rate is the largest change of a parameter in a step.
    Differs from: optax, which corrects the bias of :math:`m` and takes the estimate in after the step; the authors'
    code, which multiplies :math:`\gamma` by the batch size (the estimate has it here) and adds :math:`\epsilon`.
    Source: Liu et al. 2023, arXiv:2305.14342, Algorithm 3; estimators: Algorithms 1 and 2.

    Example:
        >>> r, p = Sophia(beta1=0.0, beta2=0.0, gamma=1.0), torch.zeros(2)
        >>> s = r.absorb(torch.tensor([4.0, 4.0]), r.init(p), p, 1)
        >>> r.update(torch.tensor([2.0, 9.0]), s, p, r.scalars(1))[0]
        tensor([0.5000, 1.0000])
    """

    beta1: Scalar = hyper(default=0.96, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.99, bounds="[0, 1)")
    gamma: Scalar = hyper(default=0.01, bounds="(0, inf)")
    eps: Scalar = hyper(default=1e-12, bounds="(0, inf)")
    every: Scalar = hyper(default=10, bounds="[1, inf)", shared=True, whole=True)
    estimator: Estimator = "hutchinson"

    class State(NamedTuple):
        m: Tensor
        h: Tensor

    class K(NamedTuple):
        beta1: Scalar
        beta1_rest: Scalar
        gamma: Scalar
        eps: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(torch.zeros_like(p), torch.zeros_like(p))

    def scalars(self, t: Scalar) -> K:
        return self.K(self.beta1, 1 - self.beta1, self.gamma, self.eps)

    def curvature(self, t: int) -> Estimator | None:
        return self.estimator if (t - 1) % int(self.every) == 0 else None

    def absorb(self, h: Tensor, s: State, p: Tensor, t: int) -> State:
        return s._replace(h=self.beta2 * s.h + (1 - self.beta2) * h)

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        m = k.beta1 * s.m + k.beta1_rest * g
        u = torch.clamp(m / torch.clamp(k.gamma * s.h, min=k.eps), -1.0, 1.0)
        return u, self.State(m, s.h)


@piece("rule")
def sophia(
    lr: float = 4e-4,
    betas: tuple[float, float] = (0.96, 0.99),
    gamma: float = 0.01,
    eps: float = 1e-12,
    weight_decay: float = 0.1,
    every: int = 10,
    estimator: Estimator = "hutchinson",
) -> Chain:
    """Sophia with decoupled weight decay: Sophia-H, or Sophia-G with estimator="gauss-newton-bartlett", gamma=0.05.

    In a loop of one's own call ``optimizer.backward(loss)`` in place of ``loss.backward()``.

    Family: curvature
    Usual lr: 1e-4 to 1e-3
    Use when: second derivatives are affordable and the claim of half the steps of AdamW is to be tried out.
    Not when: runs are long: an independent study saw it diverge, and no gain over tuned AdamW (arXiv:2509.01440).
    Source: arXiv:2305.14342, Algorithm 3.
    """
    beta1, beta2 = pair(betas)
    return chain(Sophia(beta1, beta2, gamma, eps, every, estimator), WeightDecay(weight_decay), LearningRate(lr))
