"""Persistent evolution strategies: the gradient of a long run with respect to its weights, from pieces of the run.

A run is cut into pieces. Before each piece every pair of particles draws a perturbation, which one of the pair adds to
the weights and the other subtracts; both keep their own states from piece to piece. What a piece's loss owes to the
earlier perturbations is accounted for by multiplying with their sum.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Pairs:
    r"""Antithetic pairs, each with the sum of its perturbations so far.

    .. math::
        \hat g = \frac{1}{2 \sigma^2 P} \sum_{i=1}^P \Big(\sum_{\tau \le t} \epsilon_{i\tau}\Big)
        \big(L_t(\theta + \epsilon_{it}) - L_t(\theta - \epsilon_{it})\big), \qquad \epsilon \sim N(0, \sigma^2 I)

    where :math:`L_t` is the loss of piece :math:`t` of a run that was perturbed in all its pieces. The sum over the
    pieces is unbiased for the gradient of the expected loss under such perturbations: for a loss that is quadratic in
    them, the gradient itself.

    Source: Vicol, Metz and Sohl-Dickstein 2021, arXiv:2112.13835, Algorithm 2 (there the mean over 2P particles).

    Args:
        pairs: How many pairs.
        like: A vector of the size, dtype and device of the weights.
        sigma: Standard deviation of a perturbation, in units of the weights.

    Example:
        >>> pairs = Pairs(2, torch.zeros(3), sigma=0.1)
        >>> pairs.draw(torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3])
        >>> pairs.gradient(torch.ones(2), torch.ones(2))
        tensor([0., 0., 0.])
    """

    def __init__(self, pairs: int, like: Tensor, sigma: float) -> None:
        self.sigma = sigma
        self.history = like.new_zeros(pairs, len(like))

    def draw(self, generator: torch.Generator) -> Tensor:
        """Perturbations for the next piece."""
        shape, dtype = self.history.shape, self.history.dtype
        noise = torch.randn(shape, generator=generator, dtype=dtype).to(self.history.device)
        self.history += self.sigma * noise
        return self.sigma * noise

    def gradient(self, plus: Tensor, minus: Tensor) -> Tensor:
        """The estimate from the losses of a piece, one for each pair."""
        return (plus - minus) @ self.history / (2 * self.sigma**2 * len(self.history))

    def forget(self) -> None:
        """New runs begin."""
        self.history.zero_()
