"""Trimmed mean and Krum: for gradients of which some may be nonsense."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from steepest.core import robust
from steepest.core.piece import piece
from steepest.core.rule import hyper
from steepest.multitask.method import Level, Method, MultiTaskError, Seen, finite, method, or_nan


@method
class TrimmedMean(Method):
    r"""In each entry, the mean of the gradients without the largest and the smallest.

    Args:
        trim: How many are left out on each side, a whole number in [0, inf).

    Source: Yin et al. 2018, arXiv:1803.01498, Definition 2.
    """

    trim: int = hyper(1, "[0, inf)", whole=True)

    needs: ClassVar[Any] = "jacobian"
    permutation_invariant: ClassVar[bool] = True

    def combine(self, seen: Seen, s: Any) -> tuple[Tensor, Any]:
        m, trim = seen.m, int(self.trim)
        if m <= 2 * trim:
            raise MultiTaskError(f"trimmed_mean(trim={trim}) needs more than {2 * trim} tasks; there are {m}.")
        return robust.trimmed_mean(seen.J, trim), s


@method
class Krum(Method):
    r"""The mean of the gradients that are nearest to their neighbours.

    The score of a gradient is the sum of the squared distances to its :math:`m - f - 2` nearest neighbours.

    Args:
        faulty: :math:`f`, how many may be nonsense, a whole number in [0, inf).
        selected: How many of the best are averaged, a whole number in [1, inf).
        level: How gradients are compared.

    Two gradients that are each other's nearest may have one score; the first is then taken.
    Differs from: torchjd adds distances, not their squares.
    Source: Blanchard et al. 2017, arXiv:1703.02757, section 4; several selected: section 6 (Multi-Krum).
    """

    faulty: int = hyper(0, "[0, inf)", whole=True)
    selected: int = hyper(1, "[1, inf)", whole=True)
    level: Level = "gramian"

    fewest: ClassVar[int] = 3

    def weigh(self, seen: Seen, s: Any) -> tuple[Tensor, Any]:
        G, good = finite(seen.G)
        m, near, selected = seen.m, seen.m - int(self.faulty) - 2, int(self.selected)
        if near < 1 or selected > m:
            raise MultiTaskError(
                f"krum(faulty={self.faulty}, selected={self.selected}) needs at least "
                f"{max(int(self.faulty) + 3, selected)} tasks; there are {m}."
            )
        squares = G.diagonal(dim1=-2, dim2=-1)
        apart = (squares[..., :, None] + squares[..., None, :] - 2 * G).clamp(min=0)
        best = robust.krum_scores(apart, near).topk(selected, largest=False)[1]
        w = torch.zeros_like(squares).scatter(-1, best, 1 / selected)
        return or_nan(w, good), s


@piece("multitask")
def trimmed_mean(trim: int = 1) -> Method:
    """In each entry the mean without the extremes.

    Args:
        trim: How many are left out on each side.

    Use when: gradients come from many sources, some of which may be broken.
    Not when: tasks differ by nature: what is particular to one is taken for nonsense.
    Source: arXiv:1803.01498, Definition 2.
    """
    return TrimmedMean(trim)


@piece("multitask")
def krum(faulty: int = 0, selected: int = 1, level: Level = "gramian") -> Method:
    """The gradients that have the nearest neighbours; the others are left out.

    Args:
        faulty: How many may be nonsense.
        selected: How many of the best are averaged.
        level: How gradients are compared: ``"gramian"``, ``"jacobian"``, ``"features"``.

    Use when: gradients come from many sources, some of which may be broken.
    Not when: tasks differ by nature.
    Source: arXiv:1703.02757, section 4.
    """
    return Krum(faulty, selected, level)
