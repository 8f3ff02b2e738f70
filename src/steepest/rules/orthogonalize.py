"""Replace a matrix by the nearest one with orthogonal rows (or columns): steepest descent under the spectral norm."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule

Coefficients = tuple[Scalar, Scalar, Scalar]

JORDAN: Coefficients = (3.4445, -4.7750, 2.0315)
_OPTIMAL = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
POLAR_EXPRESS: tuple[Coefficients, ...] = (
    *((a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in _OPTIMAL),
    (1.875, -1.25, 0.375),
)
"""Algorithm 1 of arXiv:2505.16932, with its safety factor of 1.01; the last is repeated."""
WIDE = 2
"""From so many columns a row on, the iteration runs on the small Gram matrix."""


@functools.cache
def fast_bfloat16(device: str) -> bool:
    """Whether a device multiplies bfloat16 matrices faster than float32 ones."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device == "cpu" and any(getattr(torch.cpu, test, bool)() for test in tests)


def add_product(x: Tensor, a: Tensor, b: Tensor, alpha: Scalar, beta: Scalar = 1.0) -> Tensor:
    """``alpha x + beta a b`` for matrices, or for batches of them."""
    if isinstance(alpha, Tensor) or isinstance(beta, Tensor) or x.ndim > 3:
        return alpha * x + beta * (a @ b)
    return (torch.addmm if x.ndim == 2 else torch.baddbmm)(x, a, b, beta=alpha, alpha=beta)


def polynomials(x: Tensor, coefficients: Sequence[Coefficients]) -> Tensor:
    r"""Apply :math:`p(x) = a x + b x^3 + c x^5` to the singular values, one polynomial after the other.

    Shapes: (..., m, n) with m <= n. On wide matrices the iteration runs on the m-by-m Gram matrix
    :math:`R = X X^\top`, and multiplies by :math:`X` only after two steps and then after every third, as the rounding
    of :math:`R` grows with each. The numbers are the same up to that rounding: half-precision ones take the long way.
    """
    if x.shape[-1] < WIDE * x.shape[-2] or x.dtype not in (torch.float32, torch.float64):
        for a, b, c in coefficients:
            r = x @ x.mT
            x = add_product(x, add_product(r, r, r, b, c), x, a)
        return x
    for i in (0, *range(2, len(coefficients), 3)):
        x = _product(x @ x.mT, coefficients[i : (i + 3 if i else 2)]) @ x
    return x


def _product(r: Tensor, coefficients: Sequence[Coefficients]) -> Tensor:
    r"""The matrix :math:`q` by which a few steps multiply :math:`X`, from its Gram matrix."""
    q = None
    for i, (a, b, c) in enumerate(coefficients, start=1):
        p = add_product(r, r, r, b, c)
        if q is None:
            q = p.clone()
            q.diagonal(dim1=-2, dim2=-1).add_(a)
        else:
            q = add_product(q, q, p, a)
        if i < len(coefficients):  # r <- (a + p) r (a + p)
            r = add_product(r, r, p, a)
            r = add_product(r, p, r, a)
    assert q is not None
    return q


@rule
class Orthogonalize(Rule):
    r"""Set all singular values to about one: :math:`u = s\,U V^\top` for :math:`g = U \Sigma V^\top`.

    .. math::
        X_0 = g / \lVert g \rVert_F, \qquad
        X_{i+1} = a_i X_i + (b_i R_i + c_i R_i^2) X_i, \quad R_i = X_i X_i^\top

    Args:
        a: First coefficient of the Newton-Schulz polynomial :math:`a x + b x^3 + c x^5`, in (0, inf).
        b: Second coefficient.
        c: Third coefficient.
        ns_steps: Number of iterations, in [1, 100).
        eps: Norms below it are taken for it, so that zero stays zero. In units of the gradient, in [0, inf).
        iteration: ``"newton_schulz"`` with a, b, c at each step (five bring singular values from 0.002 to 1 into
            [0.68, 1.21]), or ``"polar_express"``, whose coefficients differ from step to step and are fixed.
        scaling: ``"original"`` :math:`s = \sqrt{\max(1, r / c)}` for r rows and c columns; ``"match_rms_adamw"``
            :math:`s = 0.2 \sqrt{\max(r, c)}`, steps as large as AdamW's; ``"none"`` :math:`s = 1`.
        experts: The last two dimensions are the matrix and those before count matrices. Otherwise the first is the rows
            and the others together the columns (kernels of convolutions).
        products: ``"fast"`` multiplies in bfloat16 where the processor does so faster than in float32 (float64 stays);
            ``"exact"`` in the parameter's precision.

    Shapes: two dimensions or more. Memory: none.
    Differs from: Jordan's code, which for kernels takes the scale from the last two dimensions of the kernel, so that
    it is 1 for square ones; here it is that of the flattened matrix. He adds eps, here as in torch it is a bound.
    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers"; Amsel et al. 2025, arXiv:2505.16932, Algorithm 1
    (polar_express); Liu et al. 2025, arXiv:2502.16982, eq. (4) (match_rms_adamw).

    Example:
        >>> rule = Orthogonalize(iteration="polar_express", ns_steps=8)
        >>> g = torch.tensor([[3.0, 0.0, 0.0], [0.0, -0.01, 0.0]])
        >>> rule.update(g, rule.init(g), g, rule.scalars(1))[0].round(decimals=3) + 0
        tensor([[ 1.,  0.,  0.],
                [ 0., -1.,  0.]])
    """

    a: Scalar = hyper(default=3.4445, bounds="(0, inf)")
    b: Scalar = hyper(default=-4.7750, bounds="(-inf, inf)")
    c: Scalar = hyper(default=2.0315, bounds="(-inf, inf)")
    ns_steps: Scalar = hyper(default=5, bounds="[1, 100)", shared=True, whole=True)
    eps: Scalar = hyper(default=1e-7, bounds="[0, inf)")
    iteration: Literal["newton_schulz", "polar_express"] = "newton_schulz"
    scaling: Literal["original", "match_rms_adamw", "none"] = "original"
    experts: bool = False
    products: Literal["fast", "exact"] = "fast"

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"
    ndim_min: ClassVar[int] = 2

    class K(NamedTuple):
        a: Scalar
        b: Scalar
        c: Scalar
        ns_steps: Scalar
        eps: Scalar

    def scalars(self, t: Scalar) -> K:
        return self.K(self.a, self.b, self.c, self.ns_steps, self.eps)

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        x = g if self.experts else g.flatten(1)
        return (self.scale(*x.shape[-2:]) * self.polar(x, k)).reshape(g.shape), s

    def stacked(self, g: Tensor, s: Nothing, p: Tensor, k: K) -> tuple[Any, Nothing]:
        x = g if self.experts else g.flatten(2)  # products of batches are faster than what vmap makes of them
        return (self.scale(*x.shape[-2:]) * self.polar(x, k)).reshape(g.shape), s

    def scale(self, rows: int, columns: int) -> float:
        """By what to multiply the orthogonal matrix."""
        if self.scaling == "none":
            return 1.0
        return (
            math.sqrt(max(1, rows / max(1, columns)))
            if self.scaling == "original"
            else 0.2 * math.sqrt(max(rows, columns))
        )

    def polar(self, x: Tensor, k: K) -> Tensor:
        """The matrix, or each of a batch, with its singular values brought near one."""
        steps = int(k.ns_steps)
        if self.iteration == "newton_schulz":
            coefficients: Sequence[Coefficients] = [(k.a, k.b, k.c)] * steps
            margin = 1.0
        else:
            coefficients = [POLAR_EXPRESS[min(i, len(POLAR_EXPRESS) - 1)] for i in range(steps)]
            margin = 1.01
        tall = x.shape[-2] > x.shape[-1]
        y = x.mT if tall else x
        norm = torch.linalg.vector_norm(y, dim=(-2, -1), keepdim=True)
        y = y / torch.clamp(margin * norm, min=k.eps)
        if self.products == "fast" and y.dtype == torch.float32 and fast_bfloat16(y.device.type):
            y = y.bfloat16()
        y = polynomials(y, coefficients).to(x.dtype)
        return y.mT if tall else y
