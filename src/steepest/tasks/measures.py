"""Losses and metrics for batches of the form (inputs, labels) or (inputs, targets)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(output: Tensor, batch: Any) -> Tensor:
    """Mean negative log-likelihood of the labels, in nats; ``output`` holds logits, classes last.

    >>> import torch
    >>> cross_entropy(torch.zeros(2, 3, 4), (None, torch.zeros(2, 3, dtype=torch.int64)))  # log 4
    tensor(1.3863)
    """
    return F.cross_entropy(output.flatten(0, -2), batch[1].flatten())


def error(output: Tensor, batch: Any) -> Tensor:
    """The share of labels that the largest logit misses, in [0, 1]."""
    missed: Tensor = output.argmax(-1) != batch[1]
    return missed.to(output.dtype).mean()


def accuracy(output: Tensor, batch: Any) -> Tensor:
    """The share of labels that the largest logit hits, in [0, 1]."""
    return 1 - error(output, batch)


def bits(output: Tensor, batch: Any) -> Tensor:
    """:func:`cross_entropy` in bits: nats / log 2."""
    return cross_entropy(output, batch) / math.log(2)


def squared_error(output: Tensor, batch: Any) -> Tensor:
    """Mean squared error of the targets."""
    loss: Tensor = (output - batch[1]).square().mean()
    return loss


def absolute_error(output: Tensor, batch: Any) -> Tensor:
    """Mean absolute error of the targets."""
    mean: Tensor = (output - batch[1]).abs().mean()
    return mean
