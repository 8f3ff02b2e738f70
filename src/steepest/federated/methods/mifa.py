"""MIFA: who is away is stood for by what it sent last."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from steepest.federated.method import Method, Round, Weighting, method


@method
class Mifa(Method):
    r"""The server remembers every client's newest update and steps along the mean of all of them, each round.

    .. math:: G_i = y_i - x \quad (i \in S), \qquad x \leftarrow x + \frac{1}{N} \sum_{i=1}^N G_i

    So clients that are seldom there count as much as the others. The mean is over those that have been there at all.

    Memory: a vector a client, and one for their mean.
    Differs from: the paper, which lets all clients take part in the first round.
    Source: Gu et al. 2021, arXiv:2106.04159, Algorithm 1.

    Example:
        >>> Mifa()
        mifa
    """

    weighting: Weighting = "equal"

    rows: ClassVar[tuple[str, ...]] = ("G",)
    vectors: ClassVar[tuple[str, ...]] = ("sum",)

    def finish(self, round: Round) -> Tensor:
        past = torch.where(round.seen[:, None], round.rows["G"], 0.0)
        round.vectors["sum"] = round.vectors["sum"] + (round.deltas - past).sum(0)
        round.rows["G"] = round.deltas
        return round.vectors["sum"] / round.known
