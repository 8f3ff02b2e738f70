"""Noise for prefix sums: what one round adds is far less than noise on each sum alone would be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steepest.federated.privacy.noise import Noise


class TreeNoise:
    r"""The noise of the sums of the first 1, 2, 3, ... rounds, from the nodes of a binary tree over the rounds.

    Each node has standard normal noise of its own; a round lies in ``bit_length(t)`` complete nodes of the first t at
    most. The sum of a complete subtree is estimated from its own node and, of less weight, from its two halves, each
    estimated so:

    .. math:: e = w\,n + (1 - w)(e_l + e_r), \qquad w = \frac{2v}{1 + 2v}, \qquad v \leftarrow \frac{2v}{1 + 2v}

    with :math:`v = 1` at the leaves: the least variance that nodes below can give.

    Args:
        noise: Where numbers come from.
        size: Entries of a vector.

    Source: Honaker 2015 (estimation from below); Kairouz et al. 2021, arXiv:2103.00039, section 3.1 and appendix B.
    """

    def __init__(self, noise: Noise, size: int) -> None:
        self.noise, self.size = noise, size
        self.tree, self.t = 0, 0
        self.stack: list[tuple[int, float, Tensor]] = []
        """Complete subtrees from left to right: level, variance, estimate."""

    def restart(self) -> None:
        """Begin a new tree: clients may come again."""
        self.tree, self.t, self.stack = self.tree + 1, 0, []

    def total(self) -> Tensor:
        """The noise of the sum so far."""
        found = torch.zeros(self.size, dtype=torch.float64)
        for _, _, estimate in self.stack:
            found = found + estimate
        return found

    def next(self) -> Tensor:
        """What the noise of the sum becomes more by one more round."""
        before = self.total()
        index, level, variance = self.t, 0, 1.0
        estimate = self._node(level, index)
        while self.stack and self.stack[-1][0] == level:
            _, left, other = self.stack.pop()
            both, apart = other + estimate, left + variance
            level, index = level + 1, index // 2
            weight = apart / (1 + apart)
            estimate = weight * self._node(level, index) + (1 - weight) * both
            variance = weight
        self.stack.append((level, variance, estimate))
        self.t += 1
        return self.total() - before

    def _node(self, level: int, index: int) -> Tensor:
        return self.noise.normal(self.size, "tree", self.tree, level, index)

    def keep(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {
            "tree": self.tree, "t": self.t, "levels": [s[0] for s in self.stack],
            "variances": [s[1] for s in self.stack], "estimates": [s[2].clone() for s in self.stack],
        }  # fmt: skip

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to a checkpoint."""
        self.tree, self.t = saved["tree"], saved["t"]
        self.stack = list(zip(saved["levels"], saved["variances"], saved["estimates"], strict=True))
