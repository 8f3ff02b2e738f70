"""What a chain of rules costs and asks for, measured on it: no table says it by hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from steepest.core.chain import Chain
from steepest.core.trace import flatten

SIDE = 1024
"""Rows and columns of the matrix that the state is measured on: for some rules it depends on the shape."""


@dataclass(frozen=True)
class Facts:
    """What to know of a rule before using it."""

    bytes: float
    """State of one float32 parameter in a matrix of 1024 x 1024."""
    needs: tuple[str, ...]
    """What else than gradients of any tensors: ``"the loss"``, ``"curvature"``, ``"matrices"``."""
    averages: bool
    """Whether the weights to evaluate differ from those that are trained."""


def facts(links: Chain) -> Facts:
    """Measure a chain.

    >>> from steepest.rules import adam, sgd
    >>> facts(adam().build()), facts(sgd().build()).bytes
    (Facts(bytes=8.0, needs=(), averages=False), 0.0)
    """
    needs = sorted({f"the {need}" if need == "loss" else need for link in links for need in link.needs})
    if any(link.curved() for link in links):
        needs.insert(0, "curvature")
    if any(link.ndim_min > 1 for link in links):
        needs.append("matrices")
    return Facts(_bytes(links), tuple(needs), links.averages)


def _bytes(links: Chain) -> float:
    """Bytes a parameter of the state that the links keep, sizes that do not grow with the matrix rounded away."""
    p = torch.zeros(SIDE, SIDE, device="meta")
    try:
        state = flatten(links.init(p))
    except (NotImplementedError, RuntimeError):  # what is not defined without values
        state = flatten(links.init(torch.zeros(SIDE, SIDE)))
    return round(sum(s.numel() * s.element_size() for s in state if isinstance(s, Tensor)) / p.numel(), 2)
