"""A product of matrices that is to equal another: linear in its input, anything but convex in its weights."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from steepest.tasks.quadratic import at_point, cosine_basis
from steepest.tasks.registry import builtin
from steepest.tasks.task import Task, TaskError


class DeepLinear(nn.Module):
    """W_L ... W_1, each layer n x n with entries drawn from N(0, gain^2 / n)."""

    def __init__(self, dimension: int, depth: int, gain: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dimension, dimension, bias=False) for _ in range(depth))
        for p in self.parameters():
            nn.init.normal_(p, std=gain / math.sqrt(dimension))

    def forward(self) -> Tensor:
        """The product, transposed: what the identity, a batch of whitened inputs, is mapped to."""
        first = next(self.parameters())
        h = torch.eye(len(first), device=first.device, dtype=first.dtype)
        for layer in self.layers:
            h = layer(h)
        return h


def _distance(teacher: Tensor, output: Tensor, batch: Any) -> Tensor:  # noqa: ARG001 - a loss takes a batch
    return 0.5 * (output - teacher.to(output)).square().sum()


def teacher(dimension: int, condition: float) -> Tensor:
    """A matrix with singular values 1 down to 1/condition in equal ratios, and cosine bases on both sides."""
    values = torch.logspace(0, -math.log10(condition), dimension, dtype=torch.float64)
    basis = cosine_basis(dimension)
    return (basis.T * values) @ basis.flip(1)


@builtin("deep-linear")
def deep_linear(dimension: int = 24, depth: int = 6, gain: float = 0.7, condition: float = 10.0) -> Task:
    r"""A deep linear network on whitened inputs, learnt in stages from a saddle; the optimum is known, 0.

    .. math::
        f(W_1, \dots, W_L) = \tfrac12 \lVert W_L \cdots W_1 - T \rVert_F^2

    Strong directions of ``T`` are learnt first, each after a plateau. At the start the mean loss over seeds is
    (|T|^2 + n gain^{2L}) / 2.

    Args:
        dimension: n, >= 2.
        depth: L, >= 1.
        gain: Size of the layers at the start, > 0; the smaller, the longer the first plateau.
        condition: Largest over smallest singular value of ``T``, >= 1.

    Reason: saddles without noise: how long a rule stays where the gradient is small in every direction.
    Source: Saxe, McClelland and Ganguli 2013, arXiv:1312.6120, section 1.
    """
    if dimension < 2 or depth < 1 or not 0 < gain < math.inf or not 1 <= condition < math.inf:
        raise TaskError(
            "deep-linear needs dimension >= 2, depth >= 1, gain > 0 and condition >= 1; given "
            f"dimension={dimension}, depth={depth}, gain={gain}, condition={condition}."
        )
    return Task(
        name="deep-linear",
        model=partial(DeepLinear, dimension, depth, gain),
        loss=partial(_distance, teacher(dimension, condition).T.to(torch.float32).contiguous()),
        train=None,
        validation=None,
        forward=at_point,
        steps=500,
        eval_every=25,
        optimum=0.0,
        description=f"Deep linear network, {depth} layers of {dimension} x {dimension}, gain {gain:g}",
        source="Saxe, McClelland and Ganguli 2013, arXiv:1312.6120",
    )
