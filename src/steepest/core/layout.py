"""Where the parts of a chain's state live in ``optimizer.state[p]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from steepest.core.chain import Chain


@dataclass(frozen=True)
class Layout:
    """Names of a chain's state tensors and of the memory numbers that each tensor keeps, and the shape of the tuples.

    A name is the one torch.optim uses where a rule states it (``torch_names``), else the paper's letter; a name that
    two links share gets the position of the later link behind it.
    """

    tensors: tuple[str, ...]
    numbers: tuple[str, ...]
    memory: tuple[Any, ...]
    own: tuple[int, ...]
    """Links whose memory each tensor keeps."""
    shared: tuple[int, ...]
    """Links that sum over many tensors: their memory is one for all of them."""
    stages: tuple[tuple[int, ...], ...]
    terms: tuple[int, ...]
    alike: tuple[str, ...]
    """The numbers that tensors must have in common to share their scalars."""
    apart: tuple[tuple[int, tuple[str, ...]], ...]
    """Links of which each tensor has its own numbers, with the names of those: they sum over it, or know its place."""
    classes: tuple[str, ...]
    """What the links are called."""


def layout(chain: Chain) -> Layout:
    """The layout of a chain, found by asking each link for its state on a tensor of one entry."""
    taken: set[str] = set()

    def named(i: int, fields: Any, rename: Mapping[str, str]) -> list[str]:
        out = []
        for name in fields:
            name = rename.get(name, name)
            out.append(name if name not in taken else f"{name}_{i}")
            taken.add(out[-1])
        return out

    one = torch.zeros((1,) * max((1, *(link.ndim_min for link in chain.links))))
    tensors: list[str] = []
    numbers: list[str] = []
    own: list[int] = []
    shared: list[int] = []
    terms = []
    alike: list[str] = []
    apart: list[tuple[int, tuple[str, ...]]] = []
    for i, link in enumerate(chain.links):
        state = link.init(one)
        tensors += named(i, state._fields, link.torch_names)
        if link.start():
            if link.measures() and link.reach == "model":
                shared.append(i)
            else:
                own.append(i)
                new = named(i, link.start()._fields, link.torch_names)
                numbers += new
                if link.reach == "tensor" if link.measures() else "place" in link.start()._fields:
                    apart.append((i, tuple(new)))
                else:
                    alike += new
        raw = (one,) if link.reads_gradient else ()
        terms.append(len(link.measure(one, state, one, link.scalars(1), *raw)) if link.measures() else 0)
    return Layout(
        tensors=tuple(tensors),
        numbers=tuple(numbers),
        memory=chain.start(),
        own=tuple(own),
        shared=tuple(shared),
        stages=tuple(tuple(stage) for stage in chain.stages()),
        terms=tuple(terms),
        alike=tuple(alike),
        apart=tuple(apart),
        classes=tuple(type(link).__name__ for link in chain.links),
    )


def link_key(method: str, plan: Layout, i: int, prefix: int) -> tuple[str, str]:
    """Under which name a link that sums over many tensors is known: its class, whatever stands around it.

    Gradient pieces, the first ``prefix`` links of every chain, belong to no method.
    """
    return ("" if i < prefix else method), _labels(plan.classes, prefix)[i]


@cache
def _labels(classes: tuple[str, ...], prefix: int) -> tuple[str, ...]:
    """Each class; from its second place among the gradient pieces, or among the others, on with a number.

    >>> _labels(("ZClip", "ZClip", "ZClip", "Adam"), 2)
    ('ZClip', 'ZClip 2', 'ZClip', 'Adam')
    """
    found = []
    for part in (classes[:prefix], classes[prefix:]):
        for i, name in enumerate(part):
            before = part[:i].count(name)
            found.append(f"{name} {before + 1}" if before else name)
    return tuple(found)


_known: dict[Any, Layout] = {}


def layout_of(chain: Chain) -> Layout:
    """:func:`layout`, remembered by structure."""
    key = chain.structure
    if key not in _known:
        _known[key] = layout(chain)
    return _known[key]
