"""Arithmetic on hyperparameters that are Python floats, or float64 tensors with one value for each member of a fleet.

``+ - * / **`` work on both as they are; these few functions do the rest. They belong in :meth:`Rule.scalars`, where
numbers are prepared once a step; inside :meth:`Rule.update` use the torch functions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from steepest.core.rule import Scalar


def _like(x: Scalar, y: Tensor) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float64, device=y.device)


def where(condition: bool | Tensor, a: Scalar, b: Scalar) -> Scalar:
    """``a`` where the condition holds, else ``b``.

    >>> where(3 > 2, 1.0, 0.0)
    1.0
    >>> where(torch.tensor([1.0, 2.0]) == 1, 1.0, 0.5)
    tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    if isinstance(condition, Tensor):
        return torch.where(condition, _like(a, condition), _like(b, condition))
    return a if condition else b


def maximum(a: Scalar, b: Scalar) -> Scalar:
    """The larger of two.

    >>> maximum(1.0, 2.0)
    2.0
    """
    tensor = a if isinstance(a, Tensor) else b
    if isinstance(tensor, Tensor):
        return torch.maximum(_like(a, tensor), _like(b, tensor))
    return max(a, tensor)


def minimum(a: Scalar, b: Scalar) -> Scalar:
    """The smaller of two.

    >>> minimum(torch.tensor([1.0, 4.0]), 2.0)
    tensor([1., 2.], dtype=torch.float64)
    """
    tensor = a if isinstance(a, Tensor) else b
    if isinstance(tensor, Tensor):
        return torch.minimum(_like(a, tensor), _like(b, tensor))
    return min(a, tensor)


def sqrt(x: Scalar) -> Scalar:
    """The square root.

    >>> sqrt(9.0), sqrt(torch.tensor(4.0))
    (3.0, tensor(2.))
    """
    return x.sqrt() if isinstance(x, Tensor) else math.sqrt(x)
