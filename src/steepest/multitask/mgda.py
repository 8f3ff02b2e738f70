"""MGDA: the shortest convex combination of the gradients."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from steepest.core.piece import piece
from steepest.multitask.method import Level, Method, MultiTaskError, Seen, finite, method, or_nan
from steepest.multitask.solvers import min_norm
from steepest.multitask.solvers.cosines import reciprocal

Normalise = Literal["none", "l2", "loss", "loss+"]
NORMALISATIONS = ("none", "l2", "loss", "loss+")


@method
class MGDA(Method):
    r"""The point of the gradients' convex hull that is nearest to zero: down for all losses, or Pareto stationary.

    .. math::
        w = \arg\min_{w \in \Delta} w^T G w

    Args:
        normalise: What each gradient is divided by before: nothing, its length (``"l2"``), its loss, or both
            (``"loss+"``).
        level: How gradients are compared.

    Differs from: solved exactly, where the paper iterates Frank-Wolfe (torchjd: 100 times, to 1e-3). Without
    normalisation the smallest gradient decides. The weights found for normalised gradients are applied to these, as in
    LibMTL; the authors' code applies them to the losses as they are, so that what was made short may be long again and
    point against a task.
    Source: Desideri 2012, doi:10.1016/j.crma.2012.03.014; Sener and Koltun 2018, arXiv:1810.04650, equation (3).
    """

    normalise: Normalise = "none"
    level: Level = "gramian"

    reads_losses: ClassVar[bool] = True
    non_conflicting: ClassVar[bool] = True
    permutation_invariant: ClassVar[bool] = True

    def weigh(self, seen: Seen, s: Any) -> tuple[Tensor, Any]:
        G, good = finite(seen.G)
        scale = torch.ones_like(G[..., 0])
        if self.normalise in ("l2", "loss+"):
            scale = scale * reciprocal(G.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt())
        if self.normalise in ("loss", "loss+"):
            scale = scale / torch.nan_to_num(seen.L, nan=1.0).clamp(min=1e-300)
        w = min_norm(scale[..., :, None] * G * scale[..., None, :])
        return or_nan(w * scale, good), s


@piece("multitask")
def mgda(normalise: Normalise = "none", level: Level = "gramian") -> Method:
    """The shortest convex combination of the gradients: no loss goes up, the smallest gradient decides.

    Args:
        normalise: What to divide each gradient by before: ``"none"``, ``"l2"``, ``"loss"``, ``"loss+"``.
        level: How gradients are compared: ``"gramian"``, ``"jacobian"``, ``"features"``.

    Use when: a point of the Pareto front is wanted, whichever.
    Not when: gradients differ in size: normalise them then, or take another method.
    Source: arXiv:1810.04650, equation (3).
    """
    if normalise not in NORMALISATIONS:
        raise MultiTaskError(f"mgda: normalise is one of {', '.join(NORMALISATIONS)}; got {normalise!r}.")
    return MGDA(normalise, level)
