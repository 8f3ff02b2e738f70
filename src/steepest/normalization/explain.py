"""What a batch-norm layer does to a batch, number by number, from the definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from steepest.normalization.spread import spread

SHOWN = 8
"""So many features are drawn where none are chosen."""


@dataclass(frozen=True)
class BatchNormSteps:
    """Every intermediate value of a batch-norm layer on one batch, in float64; one entry a feature, or as the input.

    Print it for a table, one row a feature; ``steepest.report.draw(steps, "layer.html")`` draws the distributions
    before and after, in training and in evaluation mode, and ``draw(steps.distributions([3, 5]), ...)`` those of two
    features.
    """

    input: Tensor
    count: int
    """Values of each feature in the batch: rows times positions."""
    eps: float
    momentum: float
    """Weight of the batch in the running statistics; ``1 / (batches seen + 1)`` for ``momentum=None``."""
    mean: Tensor
    variance: Tensor
    """Biased (divided by ``count``): what training normalises with."""
    variance_unbiased: Tensor
    """Divided by ``count - 1``: what goes into the running variance."""
    scale: Tensor
    shift: Tensor
    normalized: Tensor
    """In training mode, before scale and shift."""
    output: Tensor
    """In training mode."""
    running_mean: Tensor | None
    running_variance: Tensor | None
    running_mean_after: Tensor | None
    """After this batch in training mode."""
    running_variance_after: Tensor | None
    normalized_eval: Tensor
    """In evaluation mode, with the running statistics as they were (the batch's own, where none are tracked)."""
    output_eval: Tensor

    def __str__(self) -> str:
        columns = {
            "batch mean": self.mean,
            "batch var": self.variance,
            "scale": self.scale,
            "shift": self.shift,
            "running mean": self.running_mean,
            "-> after": self.running_mean_after,
            "running var": self.running_variance,
            "-> after ": self.running_variance_after,
        }
        given = {name: value for name, value in columns.items() if value is not None}
        head = ["feature", *given]
        rows = [[str(i), *(f"{float(v[i]):.4g}" for v in given.values())] for i in range(len(self.mean))]
        width = [max(len(row[j]) for row in (head, *rows)) for j in range(len(head))]
        lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, width, strict=True)) for row in (head, *rows)]
        return "\n".join([f"{self.count} values a feature, eps={self.eps:g}, momentum={self.momentum:g}", *lines])

    @property
    def record(self) -> dict[str, Any]:
        """What ``steepest.report.draw`` draws: the features whose output differs most between the two modes."""
        return self.distributions()

    def distributions(self, features: Sequence[int] | None = None) -> dict[str, Any]:
        """How the values of features lie before the layer and behind it, as plain data.

        Args:
            features: Which; None: the 8 whose output differs most between the modes (root mean square), in order.
        """
        size = len(self.mean)
        chosen = list(features) if features is not None else self._apart(SHOWN)
        for i in chosen:
            if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < size:
                raise ValueError(f"features must be whole numbers from 0 to {size - 1}; given {i!r}.")
        if not chosen:
            raise ValueError(f"features names none; give some of 0 to {size - 1}, or None for those that differ most.")
        bad = [i for i in chosen if not bool(self.input[:, i].isfinite().all())]
        if bad:
            raise ValueError(f"the input of feature {bad[0]} is not finite everywhere; there is nothing to draw.")
        return {
            "kind": "batchnorm",
            "count": self.count,
            "size": size,
            "eps": self.eps,
            "momentum": self.momentum,
            "chosen": features is not None,
            "features": [self._feature(i) for i in chosen],
        }

    def _apart(self, most: int) -> list[int]:
        apart = (self.output - self.output_eval).transpose(0, 1).flatten(1).square().mean(1)
        return sorted(torch.argsort(apart, descending=True, stable=True)[:most].tolist())

    def _feature(self, i: int) -> dict[str, Any]:
        """The layer is a line in each feature, so what lies behind it is what lies before it, moved and stretched."""
        before = spread(self.input[:, i])
        scale, shift = float(self.scale[i]), float(self.shift[i])

        def behind(mean: Tensor, variance: Tensor) -> dict[str, Any]:
            slope = scale / float((variance[i] + self.eps).sqrt())
            return before.mapped(slope, shift - slope * float(mean[i])).record()

        told: dict[str, Any] = {"feature": i, "scale": scale, "shift": shift, "before": before.record()}
        told |= {"mean": float(self.mean[i]), "variance": float(self.variance[i])}
        told["train"] = behind(self.mean, self.variance)
        if self.running_mean is not None and self.running_variance is not None:
            told |= {"running_mean": float(self.running_mean[i]), "running_variance": float(self.running_variance[i])}
            told["eval"] = behind(self.running_mean, self.running_variance)
        return told


def explain_batchnorm(layer: Any, x: Tensor) -> BatchNormSteps:
    r"""Compute what a batch-norm layer computes, in float64, in training and in evaluation mode.

    .. math::
        \mu = \frac{1}{n} \sum_i x_i, \qquad \sigma^2 = \frac{1}{n} \sum_i (x_i - \mu)^2, \qquad
        y_i = \gamma \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    .. math::
        \mu_{run} \leftarrow (1 - a) \mu_{run} + a \mu, \qquad
        \sigma^2_{run} \leftarrow (1 - a) \sigma^2_{run} + a \frac{n}{n - 1} \sigma^2

    In evaluation mode the running statistics stand in for those of the batch. torch's momentum :math:`a` is the weight
    of the *new* value (0.1), where TensorFlow's is that of the old (0.99).

    Args:
        layer: ``nn.BatchNorm1d``, ``2d`` or ``3d`` (or ``SyncBatchNorm`` on one process). It is not changed.
        x: A batch, shape ``(rows, features)`` or ``(rows, features, positions...)``.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithms 1 and 2.

    Example:
        >>> layer = torch.nn.BatchNorm1d(1)
        >>> steps = explain_batchnorm(layer, torch.tensor([[1.0], [2.0], [6.0]]))
        >>> steps.mean.item(), round(steps.variance.item(), 4), round(steps.variance_unbiased.item(), 4)
        (3.0, 4.6667, 7.0)
        >>> [round(v, 3) for v in steps.output.flatten().tolist()]
        [-0.926, -0.463, 1.389]
    """
    if not isinstance(layer, _NormBase):
        raise TypeError(f"explain_batchnorm takes a batch-norm layer such as nn.BatchNorm1d; got {layer!r}.")
    if x.ndim < 2 or x.shape[1] != layer.num_features:
        raise ValueError(
            f"{type(layer).__name__}({layer.num_features}) takes (rows, {layer.num_features}, ...); "
            f"the input has shape {tuple(x.shape)}."
        )
    n = x.numel() // layer.num_features
    if n < 2:
        raise ValueError(f"a variance needs more than one value a feature; the input has shape {tuple(x.shape)}.")
    x = x.detach().double()
    flat = x.transpose(0, 1).flatten(1)
    mean, square = flat.mean(1), (flat - flat.mean(1, keepdim=True)).square().sum(1)
    variance, unbiased = square / n, square / (n - 1)
    scale = torch.ones_like(mean) if layer.weight is None else layer.weight.detach().double()
    shift = torch.zeros_like(mean) if layer.bias is None else layer.bias.detach().double()
    run_mean, run_var = (None if v is None else v.double().clone() for v in (layer.running_mean, layer.running_var))
    momentum = float(layer.momentum) if layer.momentum is not None else 1.0 / (1 + int(layer.num_batches_tracked or 0))

    def normalize(m: Tensor, v: Tensor) -> Tensor:
        return (x - _wide(m, x)) / (_wide(v, x) + layer.eps).sqrt()

    def affine(y: Tensor) -> Tensor:
        return y * _wide(scale, x) + _wide(shift, x)

    normalized = normalize(mean, variance)
    tracked = run_mean is not None and run_var is not None
    normalized_eval = normalize(run_mean, run_var) if run_mean is not None and run_var is not None else normalized
    return BatchNormSteps(
        input=x,
        count=n,
        eps=layer.eps,
        momentum=momentum,
        mean=mean,
        variance=variance,
        variance_unbiased=unbiased,
        scale=scale,
        shift=shift,
        normalized=normalized,
        output=affine(normalized),
        running_mean=run_mean,
        running_variance=run_var,
        running_mean_after=torch.lerp(run_mean, mean, momentum) if tracked and run_mean is not None else None,
        running_variance_after=torch.lerp(run_var, unbiased, momentum) if tracked and run_var is not None else None,
        normalized_eval=normalized_eval,
        output_eval=affine(normalized_eval),
    )


def _wide(feature: Tensor, x: Tensor) -> Tensor:
    """One value a feature, shaped to meet an input."""
    return feature.view(1, -1, *[1] * (x.ndim - 2))
