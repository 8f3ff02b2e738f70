"""A convex quadratic with a known optimum, exact or with gradient noise."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from steepest.tasks.randomness import generator
from steepest.tasks.registry import builtin
from steepest.tasks.task import Task, TaskError


class Point(nn.Module):
    """A single vector to be moved to the optimum."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.x = nn.Parameter(start)

    def forward(self) -> Tensor:
        return self.x


def _start(dimension: int) -> nn.Module:
    return Point(torch.randn(dimension))


def at_point(model: nn.Module, batch: Any) -> Any:  # noqa: ARG001 - a forward pass takes a batch
    """The forward pass of a task without inputs."""
    return model()


def cosine_basis(n: int) -> Tensor:
    """The orthonormal DCT-II matrix: a rotation in closed form, so no random matrix has to be reproduced."""
    i = torch.arange(n, dtype=torch.float64)
    basis = torch.cos(math.pi / n * (i + 0.5) * i[:, None]) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis


def _loss(root: Tensor, noise: float, x: Tensor, batch: tuple[Tensor, ...]) -> Tensor:
    root = root.to(x)
    y = root @ x
    loss = 0.5 * (y @ y)
    return loss + noise * (batch[0].to(x).mean(0) @ y) if batch else loss


@builtin("quadratic")
def quadratic(
    dimension: int = 32, condition: float = 100.0, noise: float = 0.0, rotated: bool = True, samples: int = 1024
) -> Task:
    r"""A convex quadratic with a known optimum, of any condition number, exact or noisy.

    .. math::
        f(x) = \tfrac12 x^\top H x, \qquad \nabla f_i(x) = H x + \sigma H^{1/2} \xi_i

    The eigenvalues of ``H`` run from 1 down to 1/condition in equal ratios. With ``noise`` = sigma > 0 the training
    set is ``samples`` vectors xi with mean zero and unit variance, so the gradient noise has covariance sigma^2 H, as
    near a minimum of a likelihood, and a pass over all samples is exact. Evaluation is always exact. A run starts at a
    standard normal point drawn from its seed.

    Args:
        dimension: Length of ``x``, >= 1.
        condition: Largest over smallest eigenvalue, >= 1.
        noise: sigma, >= 0; 0 means exact gradients and no data.
        rotated: Whether the eigenvectors are the cosine basis rather than the coordinates; axis-aligned problems
            flatter methods that scale each coordinate.
        samples: Noise vectors, >= 2.

    Reason: exactness: a known optimum at any condition number, with or without gradient noise.
    Source: the noisy quadratic model of Zhang et al. 2019, arXiv:1907.04164, section 3.
    """
    if dimension < 1 or not 1 <= condition < math.inf or not 0 <= noise < math.inf or samples < 2:
        raise TaskError(
            "quadratic needs dimension >= 1, condition >= 1, noise >= 0 and samples >= 2; given "
            f"dimension={dimension}, condition={condition}, noise={noise}, samples={samples}."
        )
    eigenvalues = torch.logspace(0, -math.log10(condition), dimension, dtype=torch.float64)
    basis = cosine_basis(dimension) if rotated else torch.eye(dimension, dtype=torch.float64)
    root = eigenvalues.sqrt()[:, None] * basis
    xi = torch.randn(samples, dimension, dtype=torch.float64, generator=generator("quadratic noise"))
    xi = ((xi - xi.mean(0)) / xi.std(0, correction=0)).to(torch.float32)
    return Task(
        name="quadratic",
        model=partial(_start, dimension),
        loss=partial(_loss, root.to(torch.float32), noise),
        train=(xi,) if noise else None,
        validation=None,
        forward=at_point,
        batch_size=16,
        steps=500,
        eval_every=25,
        optimum=0.0,
        target=max(1e-3, 0.02 * noise**2),
        description=f"Convex quadratic, dimension {dimension}, condition {condition:g}, noise {noise:g}",
        source="Zhang et al. 2019, arXiv:1907.04164",
    )
