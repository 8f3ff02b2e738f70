r"""Forecasts by a small network: how far a weight goes on is read off the way that it has come.

The other forecasts here give all weights the same coefficients. These give each weight its own, by one network for all
weights. With the differences :math:`v_1, \dots, v_4` between five snapshots of a weight,

.. math::
    r^2 &= \operatorname{mean}_i v_i^2, \qquad q = \left(\frac{v_i v_j}{r^2}\ (i \le j),\ \log \frac{r}{R}\right)

    \hat x_h &= x + h \sum_i b_i v_i, \qquad
    b = b^\text{line} + A \tanh(B (q, q^\text{row}, q^\text{column}, \log h) + c) + d

where :math:`R` is the root mean square of :math:`r` over the tensor. ``"scalar"`` sees the weight alone (:math:`q`);
``"neurons"`` also the means of :math:`q` over the weights that go to the same neuron and over those that come from the
same one: one round of messages on the graph of neurons. Both turn and scale with the weights (twice the weights, or
their signs turned: so the forecast), and permuting neurons permutes it.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from steepest.nowcasting.forecast import line

SNAPSHOTS = 5
DIFFERENCES = SNAPSHOTS - 1
PRODUCTS = DIFFERENCES * (DIFFERENCES + 1) // 2
OWN = PRODUCTS + 1
"""Numbers that a weight has."""
HIDDEN = 16
FAR = 8.0
"""Logarithms of sizes are clamped here."""
BLOCK = 1 << 18
"""Weights that are worked on together."""
NETWORKS = ("scalar", "neurons")


def layout(network: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what is learned, in the order in which it is kept."""
    inputs = (OWN if network == "scalar" else 3 * OWN) + 1
    return {"B": (HIDDEN, inputs), "c": (HIDDEN,), "A": (DIFFERENCES, HIDDEN), "d": (DIFFERENCES,)}


def count(network: str) -> int:
    """How many numbers a network has.

    >>> count("scalar"), count("neurons")
    (276, 628)
    """
    return sum(math.prod(shape) for shape in layout(network).values())


def unflatten(flat: Tensor, network: str) -> dict[str, Tensor]:
    """What is learned by name, from one vector."""
    sizes = [math.prod(shape) for shape in layout(network).values()]
    parts = zip(layout(network).items(), torch.split(flat, sizes), strict=True)
    return {name: part.view(shape) for (name, shape), part in parts}


@functools.cache
def _kept(network: str) -> npt.NDArray[Any]:
    flat = np.array(json.loads((files("steepest.nowcasting") / "networks.json").read_text())[network], np.float32)
    if flat.shape != (count(network),):
        raise ValueError(f"networks.json holds {flat.shape} numbers for {network!r}, which has {count(network)}.")
    return flat


def kept(network: str) -> Tensor:
    """The numbers in the tree, which ``python -m steepest.graph.meta.ways --write`` made."""
    return torch.from_numpy(_kept(network).copy())


def features(v: Tensor) -> Tensor:
    """What is known of each weight: products of its differences over their size, and that size over the tensor's.

    ``v``: the differences of a tensor, ``(4, ...)``. Neither the sign of a weight nor the scale of the tensor matters.
    """
    square = v.square().mean(0)
    r = square.sqrt()
    there = r > 0
    u = v / torch.where(there, r, 1.0)
    products = [u[i] * u[j] for i in range(DIFFERENCES) for j in range(i, DIFFERENCES)]
    whole = torch.where(there, r, 1.0).log() - 0.5 * square.mean().clamp(min=torch.finfo(v.dtype).tiny).log()
    size = torch.where(there, whole, -FAR).clamp(-FAR, FAR)
    return torch.stack([*products, size], -1)


def seen(q: Tensor, network: str) -> Tensor:
    """The inputs of a network without the horizon: own numbers, and for ``"neurons"`` the means over both neurons.

    Of a vector each entry is a neuron, which hears itself and the mean of its layer.
    """
    if network == "scalar":
        return q
    rows, columns, *taps = (*q.shape[:-1], 1, 1)[: max(2, q.ndim - 1)]
    edges = q.reshape(rows, columns, math.prod(taps), OWN)
    row, column = edges.mean((1, 2), keepdim=True), edges.mean((0, 2), keepdim=True)
    heard = torch.cat([edges, row.expand_as(edges), column.expand_as(edges)], -1)
    return heard.reshape(*q.shape[:-1], 3 * OWN)


def coefficients(theta: dict[str, Tensor], inputs: Tensor, horizon: int) -> Tensor:
    """What each weight's differences count, ``(..., 4)``, over the horizon."""
    base = line(torch.eye(DIFFERENCES, dtype=torch.float64), 1).to(inputs)
    far = torch.full_like(inputs[..., :1], math.log(horizon))
    hidden = torch.tanh(torch.cat([inputs, far], -1) @ theta["B"].T + theta["c"])
    return base + hidden @ theta["A"].T + theta["d"]


def ahead(network: str, xs: Sequence[Tensor], horizon: int, damping: float = 1.0) -> Tensor:
    """The weights of one tensor ``horizon`` snapshots after the last of five, in float64."""
    theta = {name: part.to(xs[0].device) for name, part in unflatten(kept(network), network).items()}
    last = xs[-1].double()
    v = torch.stack([b.double() - a.double() for a, b in pairwise(xs)])
    if not v.any():
        return last
    inputs = seen(features((v / v.abs().max()).float()), network)
    flat, v = inputs.reshape(-1, inputs.shape[-1]), v.reshape(DIFFERENCES, -1)
    b = torch.cat([coefficients(theta, part, horizon) for part in torch.split(flat, BLOCK)])
    return last + damping * horizon * (b.double() * v.T).sum(1).view_as(last)
