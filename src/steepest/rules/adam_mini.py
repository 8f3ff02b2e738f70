"""Adam-mini: Adam with one step size for all weights of a neuron, or of a head."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.errors import HyperparameterError
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.rules.adam import AdamScalars, adam_scalars
from steepest.rules.betas import pair
from steepest.rules.learning_rate import LearningRate
from steepest.rules.weight_decay import WeightDecay


@rule
class AdamMini(Rule):
    r"""Adam that divides a block of weights by the recent size of the block instead of each by its own.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) \operatorname{mean}_{\text{block}}(g_t^2), \qquad
        u_t = \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Args:
        beta1: Weight of the past in the momentum. Unitless, in [0, 1).
        beta2: Weight of the past in the squared size. Unitless, in [0, 1).
        eps: Keeps the division finite. In units of the gradient, in [0, inf).
        block: Rows (first dimension) that share one size, in [1, inf): 1 for output neurons and for the vectors of an
            embedding, the size of a head for queries and keys. It must divide the number of rows.

    Shapes: any; vectors and numbers have a size for each entry (Adam). Memory: 4 bytes a parameter and 4 a block, 8
    bytes a parameter for vectors. How many blocks there are is decided when the state is made.
    Units: as Adam, with the block's root mean square seldom above 1.
    Differs from: the authors' code, which finds blocks by the names of parameters, has one size for a whole
    normalisation layer and Adam's sizes for parameters called bias; here no vector shares, as it saves nothing.
    pytorch_optimizer follows its first version, with one size for most matrices.
    Source: Zhang et al. 2024, arXiv:2406.16793; the authors' ``adam_mini`` 1.1.1.

    Example:
        >>> rule, g = AdamMini(), torch.tensor([[3.0, -4.0, 0.0], [1.0, 1.0, 1.0]])
        >>> rule.update(g, rule.init(g), g, rule.scalars(1))[0]
        tensor([[ 1.0392, -1.3856,  0.0000],
                [ 1.0000,  1.0000,  1.0000]])
    """

    beta1: Scalar = hyper(default=0.9, bounds="[0, 1)")
    beta2: Scalar = hyper(default=0.999, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-8, bounds="[0, inf)")
    block: Scalar = hyper(default=1, bounds="[1, inf)", shared=True, whole=True)

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"
    compact: ClassVar[dict[str, Literal["signed", "nonnegative", "exact"]]] = {"m": "signed"}

    class State(NamedTuple):
        m: Tensor
        v: Tensor

    def init(self, p: Tensor) -> State:
        if p.ndim < 2:
            return self.State(torch.zeros_like(p), torch.zeros_like(p))
        rows, left = divmod(len(p), int(self.block))
        if left:
            raise HyperparameterError(
                f"adam_mini: block={self.block} does not divide the {len(p)} rows of a parameter of shape "
                f"{tuple(p.shape)}. Take block=1, or give its own group to what has heads of {self.block} rows."
            )
        return self.State(torch.zeros_like(p), p.new_zeros(rows, 1))

    def scalars(self, t: Scalar) -> AdamScalars:
        return adam_scalars(self.beta1, self.beta2, self.eps, t)

    def update(self, g: Any, s: State, p: Any, k: AdamScalars) -> tuple[Any, State]:
        return self.shared(g, s, k, g.ndim)

    def stacked(self, g: Tensor, s: State, p: Tensor, k: AdamScalars) -> tuple[Tensor, State]:
        return self.shared(g, s, k, g.ndim - 1)

    def shared(self, g: Tensor, s: State, k: AdamScalars, ndim: int) -> tuple[Tensor, State]:
        """The step on the last ``ndim`` dimensions."""
        if not g.numel():
            return g, s
        m = k.beta1 * s.m + k.beta1_rest * g
        square = g * g
        if ndim > 1:
            square = square.reshape(*s.v.shape[:-1], -1).mean(-1, True)
        v = k.beta2 * s.v + k.beta2_rest * square
        size = torch.sqrt(v) * k.v_scale + k.eps
        u = (m * k.m_scale).reshape(*size.shape[:-1], -1) / size if ndim > 1 else m * k.m_scale / size
        return u.reshape(g.shape), self.State(m, v)


@piece("rule")
def adam_mini(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    block: int = 1,
) -> Chain:
    """Adam with one step size a neuron, and decoupled weight decay (times the learning rate).

    The paper gives queries and keys one size a head: put them in a group of their own with ``block`` the rows of a
    head.

    Family: low memory
    Usual lr: 1e-4 to 1e-2
    Use when: memory is short and adamw's settings are to be kept: half of its state, the same learning rate.
    Not when: memory is plenty: adamw, or a rule of matrices, which were faster than it in an independent study
    (arXiv:2509.02046); or the momentum too has to go (adafactor, apollo_mini).
    Source: arXiv:2406.16793.
    """
    return chain(AdamMini(*pair(betas), eps, block), WeightDecay(weight_decay), LearningRate(lr))
