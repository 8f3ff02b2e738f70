"""The truth: eager, one tensor at a time, any shape, dtype, device and rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.chain import Chain
from steepest.core.executors.base import Executor, Slot, Sums, compute_dtype, store
from steepest.core.executors.exact import Exact
from steepest.core.executors.storage import kahan, read, write
from steepest.core.trace import flatten, measured, rebuild


def lifted(slot: Slot, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """``g``, state and ``p`` in the precision of the calculation."""
    if slot.forms is None:
        if slot.dtypes.count(dtype) == len(slot.dtypes):
            return slot.g, slot.state, slot.p
        return slot.g.to(dtype), rebuild(slot.state, [t.to(dtype) for t in slot.tensors]), slot.p.to(dtype)
    kept = zip(slot.forms, (slot.p, *slot.tensors), slot.beside, strict=True)
    p, *tensors = (read(form, t, beside).to(dtype) for form, t, beside in kept)
    return slot.g.to(dtype), rebuild(slot.state, tensors), p


class Reference(Executor):
    """Calls the rule as it is written."""

    keeps_forms = True

    def accepts(self, chain: Chain, slot: Slot) -> bool:
        return True

    @torch.no_grad()
    def measure(self, chain: Chain, links: Sequence[int], slots: Sequence[Slot]) -> Sums:
        sums = []
        for slot in slots:
            g, s, p = lifted(slot, torch.float64)
            sums.append([float(term.sum()) for term in measured(chain, links, g, s, p, slot.k)])
        return np.array(sums, dtype=np.float64)

    @torch.no_grad()
    def update(self, chain: Chain, slots: Sequence[Slot]) -> None:
        for slot in slots:
            g, s, p = lifted(slot, compute_dtype(slot))
            with Exact():
                u, new = chain.update(g, s, p, slot.k)
                if slot.forms is not None:
                    _keep(slot, p, u, flatten(s), flatten(new))
                    continue
            store(slot, p - u, flatten(new))


def _keep(slot: Slot, p: Tensor, u: Tensor, before: list[Tensor], after: list[Tensor]) -> None:
    """Write a step's results as the slot's forms have it; what did not change is not written again."""
    form, *forms = slot.forms or ()
    beside, *others = slot.beside
    held = {id(p), *map(id, before)}  # one result may be what another tensor held
    after = [new.clone() if id(new) in held and new is not old else new for old, new in zip(before, after, strict=True)]
    if form == "kahan" and beside is not None:
        kahan(p, u, slot.p, beside)
    else:
        write(form, p - u, slot.p, beside, slot.key, 0)
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if new is not old:
            write(forms[i], new, slot.tensors[i], others[i], slot.key, i + 1)
