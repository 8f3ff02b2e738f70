"""Persistent evolution strategies: unbiased where the gradient is known, and the shortcut's bias is seen."""

from __future__ import annotations

import torch
from torch import Tensor

from steepest.graph.meta import Pairs

torch.set_num_threads(1)

PIECES = 4
A = torch.tensor([[0.9, 0.2], [-0.1, 0.8]], dtype=torch.float64)
B = torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.7, -1.0]], dtype=torch.float64)


def piece(state: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """A linear system that the weights push, and a quadratic loss of where it is: the state remembers all pushes."""
    state = state @ A.T + theta @ B.T
    return state, (state - 1).square().sum(-1)


def exact(theta: Tensor) -> Tensor:
    theta = theta.clone().requires_grad_()
    state, total = torch.zeros(2, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for _ in range(PIECES):
        state, loss = piece(state, theta)
        total = total + loss
    return torch.autograd.grad(total, theta)[0]


def estimates(theta: Tensor, n: int, forget: bool = False) -> Tensor:
    """One estimate of the whole run's gradient a pair, each from its own run."""
    pairs = Pairs(n, theta, sigma=0.1)
    make = torch.Generator().manual_seed(0)
    plus = minus = torch.zeros(n, 2, dtype=torch.float64)
    total = torch.zeros(n, 3, dtype=torch.float64)
    for _ in range(PIECES):
        if forget:
            pairs.forget()
        noise = pairs.draw(make)
        (plus, a), (minus, b) = piece(plus, theta + noise), piece(minus, theta - noise)
        whole = pairs.gradient(a, b)
        each = (a - b).unsqueeze(1) * pairs.history / (2 * pairs.sigma**2)
        torch.testing.assert_close(whole, each.mean(0))
        total += each
    return total


def test_unbiased_on_a_quadratic() -> None:
    theta = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    found = estimates(theta, 200_000)
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - exact(theta)).abs() < 4 * error).all()
    assert (error < 0.02 * exact(theta).norm()).all()


def test_pieces_by_themselves_are_biased() -> None:
    """Without the sum of earlier perturbations it is truncated ES, which does not see what a push does later."""
    theta = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    found = estimates(theta, 200_000, forget=True)
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - exact(theta)).abs() > 20 * error).any()
