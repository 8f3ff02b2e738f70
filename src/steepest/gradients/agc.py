"""Adaptive gradient clipping: each output unit's gradient may be so large relative to its weights."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule

TINY = 1e-6
"""Keeps a zero gradient from dividing."""


def unit_norm(x: Tensor) -> Tensor:
    """The norm of each output unit: of every row of a matrix, of every filter of a kernel, of a vector as a whole.

    >>> unit_norm(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    tensor([[5.],
            [2.]])
    """
    dims = tuple(range(1, x.ndim)) if x.ndim > 1 else None
    return (x * x).sum(dim=dims, keepdim=x.ndim > 1).sqrt()


@rule
class AGC(Rule):
    r"""Clip the gradient of each output unit relative to the norm of its weights.

    .. math::
        u_i = g_i \cdot \min\left(1, \lambda \frac{\max(\lVert w_i \rVert, \epsilon)}{\lVert g_i \rVert}\right)
        \quad \text{for each unit } i

    A unit is a row of a matrix, a filter of a convolution kernel, or a bias or gain vector as a whole.

    Args:
        clipping: :math:`\lambda`, the largest relative change at learning rate 1. Unitless, in (0, inf]; inf clips
            nothing. The paper takes 0.01 for batches of 4096, less for small ones.
        agc_eps: :math:`\epsilon`, the norm that weights are taken to have at least, so that zeros can grow. In units of
            the weights, in [0, inf).

    Shapes: ``(output, ...)``. Memory: none.
    The paper leaves the final linear layer alone: ``{"params": head, "clipping": inf}`` as a group of its own.
    Differs from: the authors' code and optax in the axes only: their kernels are (height, width, input, output), and
    they call a tensor with one dimension longer than 1 a vector, whatever its number of dimensions.
    pytorch_optimizer takes the norms of three-dimensional kernels over the second dimension only.
    Source: Brock et al. 2021, arXiv:2102.06171, section 4.

    Example:
        >>> w, g = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 0.05]])
        >>> AGC(clipping=0.1).update(g, Nothing(), w, AGC.K(0.1, 1e-3))[0]
        tensor([[0.3000, 0.4000],
                [0.0000, 0.0500]])
    """

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"

    clipping: Scalar = hyper(0.01, "(0, inf]")
    agc_eps: Scalar = hyper(1e-3, "[0, inf)")

    class K(NamedTuple):
        clipping: Any
        eps: Any

    def scalars(self, t: Scalar) -> K:
        return self.K(self.clipping, self.agc_eps)

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        norm, largest = unit_norm(g), k.clipping * unit_norm(p).clamp(min=k.eps)
        return torch.where(norm > largest, g * (largest / norm.clamp(min=TINY)), g), s


@piece("gradient")
def agc(clipping: float = 0.01, agc_eps: float = 1e-3) -> AGC:
    """Clip the gradient of each output unit relative to its weights. Source: arXiv:2102.06171."""
    return AGC(clipping, agc_eps)
