"""Where no C++ compiler is: the rule itself, eagerly, on blocks that stay in cache, with the small tensors packed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.chain import Chain
from steepest.core.executors.base import Executor, Slot, Sums, compute_dtype
from steepest.core.executors.exact import Exact
from steepest.core.executors.native import dense
from steepest.core.trace import flatten, measured, rebuild

BLOCK = 1 << 16
"""Entries worked on at once on a CPU; other devices take a tensor whole."""


def flat(t: Tensor) -> Tensor:
    """A dense tensor as a vector over its memory, whatever the order of its dimensions."""
    return t.view(-1) if t.is_contiguous() else t.as_strided((t.numel(),), (1,))


class Blocked(Executor):
    """Elementwise chains on dense tensors of any device, by torch's own operators."""

    def accepts(self, chain: Chain, slot: Slot) -> bool:
        return chain.elementwise and all(
            t.shape == slot.p.shape and dense(t) and (t.stride() == slot.p.stride() or t.numel() < 2)
            for t in (slot.p, *slot.tensors)
        )

    def measure(self, chain: Chain, links: Sequence[int], slots: Sequence[Slot]) -> Sums:
        rows = []
        for slot in slots:
            total: Any = 0.0
            for _, (p, g, *s) in _blocks([slot]):
                terms = measured(
                    chain, links, g.double(), rebuild(slot.state, [t.double() for t in s]), p.double(), slot.k
                )
                total = total + torch.stack([term.sum() for term in terms])
            rows.append(total if isinstance(total, Tensor) else torch.zeros(_terms(chain, links, slot)))
        return np.asarray(torch.stack([row.double().cpu() for row in rows]).numpy(), dtype=np.float64)

    def update(self, chain: Chain, slots: Sequence[Slot]) -> None:
        alike: dict[Any, list[Slot]] = defaultdict(list)
        for slot in slots:
            alike[id(slot.k), slot.p.device].append(slot)
        for group in alike.values():
            small = [slot for slot in group if slot.p.numel() <= BLOCK // 4]
            for pack in _packs(small):
                whole = [torch.cat([flat(t) for t in column]) for column in zip(*map(_columns, pack), strict=True)]
                _step(chain, pack[0], whole)
                for j, column in enumerate(zip(*map(_columns, pack), strict=True)):
                    if j != 1:  # all but the gradient come back
                        parts = torch.split(whole[j], [t.numel() for t in column])
                        torch._foreach_copy_([flat(t) for t in column], list(parts))
            for slot in group:
                if slot.p.numel() > BLOCK // 4:
                    for _, columns in _blocks([slot]):
                        _step(chain, slot, columns)


def _columns(slot: Slot) -> list[Tensor]:
    return [slot.p, slot.g, *slot.tensors]


def _packs(slots: Sequence[Slot]) -> Iterator[list[Slot]]:
    """Small tensors together, about a block at a time."""
    pack: list[Slot] = []
    size = 0
    for slot in slots:
        if pack and size + slot.p.numel() > BLOCK:
            yield pack
            pack, size = [], 0
        pack.append(slot)
        size += slot.p.numel()
    if pack:
        yield pack


def _blocks(slots: Sequence[Slot]) -> Iterator[tuple[Slot, list[Tensor]]]:
    for slot in slots:
        columns = [flat(t) for t in _columns(slot)]
        n = slot.p.numel()
        size = BLOCK if slot.p.device.type == "cpu" else max(n, 1)
        for i in range(0, n, size):
            yield slot, [t[i : i + size] for t in columns]


def _step(chain: Chain, slot: Slot, columns: Sequence[Tensor]) -> None:
    """The reference step on vectors; writes ``p`` and the states."""
    dtype = compute_dtype(slot)
    p, g, *s = (t.to(dtype) for t in columns)
    with Exact():
        u, new = chain.update(g, rebuild(slot.state, s), p, slot.k)
    columns[0].copy_(p - u)
    for old, value in zip(columns[2:], flatten(new), strict=True):
        old.copy_(value)


def _terms(chain: Chain, links: Sequence[int], slot: Slot) -> int:
    empty = torch.zeros(0, dtype=torch.float64)
    return len(measured(chain, links, empty, rebuild(slot.state, [empty] * len(slot.tensors)), empty, slot.k))
