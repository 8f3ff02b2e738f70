"""The network of :class:`~steepest.rules.neuron_graph.NeuronGraph`: neurons are nodes, weights are edges.

A tensor is rows (neurons it goes to) by columns (neurons it comes from) by taps (a kernel's entries; 1 for a matrix).
Everything here works on ``(..., rows, columns, taps)``; weights of the network may have the leading dimensions too, one
set for each of a stack, which is how :mod:`steepest.graph.meta` trains them.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from steepest.core.errors import HyperparameterError

EDGE = 7
"""Numbers an edge has, see :func:`features`; they turn their sign with gradient and weight."""
NODE = 7
"""Numbers a neuron gathers from its edges: see :func:`gathered`."""
HIDDEN = 4
LIMIT = 8.0
"""Inputs are clamped here. Adam's direction with its usual betas is below 7.3."""
BLOCK = 1 << 18
"""Entries of a stack that are worked on together, so that what is made on the way stays small."""

Theta = Mapping[str, Tensor]
Numbers = npt.NDArray[Any]


def layout(nodes: bool = True) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's weights, in the order in which they are kept."""
    edge: dict[str, tuple[int, ...]] = {"edge": (HIDDEN, EDGE), "skip": (1, EDGE), "out": (1, HIDDEN)}
    side = {"in": (HIDDEN, 2 * NODE), "bias": (HIDDEN,), "out": (1 + HIDDEN, HIDDEN)}
    rest = {f"{name}_{part}": shape for name in ("row", "column") for part, shape in side.items()}
    return {**edge, **rest} if nodes else edge


def count(nodes: bool = True) -> int:
    """How many numbers the network has.

    >>> count(), count(nodes=False)
    (199, 39)
    """
    return sum(math.prod(shape) for shape in layout(nodes).values())


def unflatten(flat: Tensor, nodes: bool = True) -> dict[str, Tensor]:
    """The weights by name, from one vector (or a stack of them)."""
    sizes = [math.prod(shape) for shape in layout(nodes).values()]
    parts = zip(layout(nodes).items(), torch.split(flat, sizes, -1), strict=True)
    return {name: part.reshape(*flat.shape[:-1], *shape) for (name, shape), part in parts}


def untrained(nodes: bool = True, seed: int = 0) -> Tensor:
    """Weights with which the direction is Adam's: what is random in them is multiplied by zeros."""
    return torch.from_numpy(_adams(nodes, seed))


def kept(weights: str = "trained", nodes: bool = True) -> Tensor:
    """The numbers of a file that :mod:`steepest.graph.meta` writes, by default of the one beside this."""
    return torch.from_numpy(_read(weights, nodes))


def outputs(nodes: bool = True) -> Tensor:
    """Which of the numbers are weights of outputs: all but those of first layers.

    >>> int(outputs().sum()), int(outputs(nodes=False).sum())
    (51, 11)
    """
    parts = [torch.full(shape, name.endswith(("skip", "out"))) for name, shape in layout(nodes).items()]
    return torch.cat([part.flatten() for part in parts])


def learned(weights: str, nodes: bool, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """The network by its name, ``"trained"`` or ``"untrained"``, or from a file.

    What is kept between calls are numbers, not tensors, which belong to the mode in which they are made.
    """
    return unflatten(torch.from_numpy(_numbers(weights, nodes, dtype == torch.float32)).to(device, dtype), nodes)


@functools.cache
def _numbers(weights: str, nodes: bool, single: bool) -> Numbers:
    flat = _adams(nodes) if weights == "untrained" else _read(weights, nodes)
    return flat.astype(np.float32) if single else flat


def _adams(nodes: bool, seed: int = 0) -> Numbers:
    draw, parts = np.random.default_rng(seed), []
    for name, shape in layout(nodes).items():
        random = name.endswith(("edge", "in"))
        parts.append(draw.standard_normal(shape) * shape[-1] ** -0.5 if random else np.zeros(shape))
        if name == "skip":
            parts[-1][0, 0] = 1.0
    return np.concatenate([part.ravel() for part in parts])


def _read(weights: str, nodes: bool) -> Numbers:
    file = files("steepest.rules") / "neuron_graph.json" if weights == "trained" else Path(weights)
    try:
        flat = np.array(json.loads(file.read_text())["nodes" if nodes else "edges"], np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HyperparameterError(
            f"neuron_graph: weights is 'trained', 'untrained' or a file written by python -m steepest.graph.meta; "
            f"{weights!r} cannot be read: {error}"
        ) from error
    if flat.shape != (count(nodes),) or not np.isfinite(flat).all():
        raise HyperparameterError(f"neuron_graph: {weights!r} must hold {count(nodes)} finite numbers.")
    return flat


class Inputs(NamedTuple):
    """What the network sees of a tensor, averages corrected for their start at zero."""

    g: Tensor
    m: tuple[Tensor, Tensor, Tensor]
    v: Tensor
    r: Tensor
    c: Tensor
    p: Tensor

    def block(self, start: int, rows: int) -> Inputs:
        """Some of the rows."""

        def cut(x: Tensor) -> Tensor:
            return x.narrow(-3, start, rows)

        a, b, d = self.m
        return Inputs(cut(self.g), (cut(a), cut(b), cut(d)), cut(self.v), cut(self.r), self.c, cut(self.p))


class Sizes(NamedTuple):
    """Means over the tensor."""

    v: Tensor
    r: Tensor
    p: Tensor


def mean(x: Tensor, *dims: int) -> Tensor:
    """The mean over some of the last three dimensions, all by default; they stay, with length 1."""
    return x.mean(dims or (-3, -2, -1), True)


def inverse(x: Tensor, power: float = -1.0) -> Tensor:
    """``x ** power`` for what is not negative, and finite for 0: what is multiplied with it is 0 there, too."""
    return x.clamp(min=torch.finfo(x.dtype).tiny).pow(power)


def log_ratio(x: Tensor, whole: Tensor) -> Tensor:
    """How much larger a square is than the mean, as a bounded logarithm of roots; 0 where both are 0."""
    tiny = torch.finfo(x.dtype).tiny
    return (0.5 * torch.log(x.clamp(min=tiny) / whole.clamp(min=tiny))).clamp(-LIMIT, LIMIT)


def adam(m: Tensor, v: Tensor, least: Tensor) -> Tensor:
    """Adam's direction, 0 where there never was a gradient."""
    return m * inverse(v + least, -0.5)


def features(x: Inputs, size: Sizes, least: Tensor) -> Tensor:
    """The edges' numbers, along a new dimension before the rows; none depends on the scale of gradient or weights.

    Three momenta and the gradient over the recent size of the entry; the first momentum and the gradient over what its
    row and its column say of that size; the weight.
    """
    R = inverse(x.v + least, -0.5)
    F = inverse(x.r * inverse(size.r), -0.5) * inverse(x.c, -0.5)
    m = x.m[0]
    rows = [m * R, x.m[1] * R, x.m[2] * R, x.g * R, m * F, x.g * F, x.p * inverse(size.p, -0.5)]
    return torch.stack(rows, -4).clamp(-LIMIT, LIMIT)


def gathered(X: Tensor, x: Inputs) -> tuple[Tensor, Tensor]:
    """What neurons gather from their edges, rows and columns: means.

    Do momentum and gradient agree, how steady is it over ten and over a thousand steps, does it make the weights
    longer; then the squares of gradient and weights. None has a sign.
    """
    a, slow, g, w = (X.select(-4, i) for i in (0, 2, 3, 6))
    q = torch.stack([a * g, a * a, slow * slow, a * w, x.v, x.p * x.p], -4)
    return mean(q, -2, -1), mean(q, -3, -1)


def known(means: Tensor, fast: Tensor, size: Sizes) -> Tensor:
    """A neuron's numbers, and behind them their means over the layer: squares as logarithms beside the tensor's."""
    slow, weights = means.select(-4, 4), means.select(-4, 5)
    pairs = ((slow, size.v), (weights, size.p), (fast, mean(fast)))
    logs = torch.stack([log_ratio(*pair) for pair in pairs], -4)
    q = torch.cat([means.narrow(-4, 0, 4), logs], -4)
    return torch.cat([q, mean(q).expand_as(q)], -4)


def neurons(theta: Theta, side: str, q: Tensor) -> tuple[Tensor, Tensor]:
    """One perceptron a neuron: the logarithm of a factor for its edges, and a message to their hidden units."""
    hidden = torch.tanh(theta[f"{side}_in"] @ q.flatten(-3) + theta[f"{side}_bias"].unsqueeze(-1))
    out = torch.tanh(theta[f"{side}_out"] @ hidden).reshape(*q.shape[:-4], 1 + HIDDEN, *q.shape[-3:])
    return out.narrow(-4, 0, 1), out.narrow(-4, 1, HIDDEN)


def edges(theta: Theta, X: Tensor, node: tuple[Tensor, Tensor] | None) -> Tensor:
    """One perceptron an edge, whose hidden units the neurons open and close, beside a weighted sum of its numbers."""
    flat, shape = X.flatten(-3), X.shape[-3:]
    line = (theta["skip"] @ flat).reshape(*X.shape[:-4], 1, *shape)
    hidden = torch.tanh(theta["edge"] @ flat).reshape(*X.shape[:-4], HIDDEN, *shape)
    if node is not None:
        line = line * torch.exp(node[0])
        hidden = hidden * node[1]
    return (line + (theta["out"] @ hidden.flatten(-3)).reshape(line.shape)).squeeze(-4)


def direction(theta: Theta, x: Inputs, eps: Tensor | float) -> Tensor:
    """Where to go: the network's direction with the root mean square of Adam's, for each tensor of a stack.

    The neurons take part where ``theta`` has weights for them. Entries that never had a gradient stay where they are;
    one whose gradients and weight change their sign, changes the sign of its step.
    """
    size = Sizes(mean(x.v), mean(x.r), mean(x.p * x.p))
    least = eps * eps * size.v
    m = x.g.shape[-3]
    step = max(1, BLOCK * m // x.g.numel())
    starts = range(0, m, step)
    blocks = [x.block(i, min(step, m - i)) if len(starts) > 1 else x for i in starts]
    once = [features(x, size, least)] if len(blocks) == 1 else None

    def inputs(part: Inputs) -> Tensor:
        return once[0] if once else features(part, size, least)

    row = column = None
    if "row_in" in theta:
        means = [gathered(inputs(part), part) for part in blocks]
        share = [part.g.shape[-3] / m for part in blocks]
        row = neurons(theta, "row", known(torch.cat([down for down, _ in means], -3), x.r, size))
        across = torch.stack([w * over for w, (_, over) in zip(share, means, strict=True)]).sum(0)
        column = neurons(theta, "column", known(across, x.c, size))
    d = []
    for i, part in zip(starts, blocks, strict=True):
        node, n = None, part.g.shape[-3]
        if row is not None and column is not None:
            node = row[0].narrow(-3, i, n) + column[0], (1 + row[1].narrow(-3, i, n)) + column[1]
        d.append(edges(theta, inputs(part), node))
    whole = torch.cat(d, -3) if len(d) > 1 else d[0]
    return scaled(whole.masked_fill(x.v == 0, 0.0), adam(x.m[0], x.v, least))


def scaled(d: Tensor, like: Tensor) -> Tensor:
    """A direction with the root mean square of another; 0 where that is 0."""
    square = mean(d * d)
    return d * (inverse(square, -0.5) * mean(like * like).sqrt())
