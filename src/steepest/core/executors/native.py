"""One model at memory speed on the CPU: a chain becomes one C++ loop that is called once for all tensors."""

from __future__ import annotations

import ctypes
import itertools
import operator
import os
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from steepest.core import codegen, codegen_forms, columns, toolchain
from steepest.core.chain import Chain
from steepest.core.executors.base import Executor, Slot, Sums, Turn, aligned
from steepest.core.trace import trace_measure, trace_update

SMALL = 16384
"""Below this many entries in all, one thread is faster than waking the others."""


class Threads:
    """How many threads a loop may use: as torch, but one in a forked child whose parent had woken OpenMP's.

    A child inherits the record of those threads without the threads, and would wait for them for ever.
    """

    woken = False
    lost = False

    @classmethod
    def count(cls, entries: int) -> int:
        """Threads for a loop over so many entries."""
        if entries <= SMALL or cls.lost:
            return 1
        threads = torch.get_num_threads()
        cls.woken = cls.woken or threads > 1
        return threads

    @classmethod
    def after_fork(cls) -> None:
        """In the child: the parent's threads are lost."""
        cls.lost = cls.woken


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Threads.after_fork)


class Table:
    """The pointer table of a list of slots, kept while the list stays the same: a slot's memory does not move."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = list(slots)
        sizes = np.array([slot.p.numel() for slot in slots], dtype=np.int64)
        states = len(slots[0].tensors)
        kept = slots[0].forms is not None
        self.rows = np.zeros((len(slots), codegen_forms.width(states) if kept else 4 + states), dtype=np.int64)
        self.rows[:, 0] = sizes
        self.rows[:, 2] = [slot.p.data_ptr() for slot in slots]
        for j in range(states):
            self.rows[:, 4 + j] = [slot.tensors[j].data_ptr() for slot in slots]
        for j in range(1 + states if kept else 0):
            column = [slot.beside[j] for slot in slots]
            self.rows[:, 4 + states + j] = [0 if t is None else t.data_ptr() for t in column]
        self.seeded = kept and "stochastic" in (slots[0].forms or ())
        self.start = np.zeros(len(slots) + 1, dtype=np.int64)
        np.cumsum(-(-sizes // codegen.CHUNK), out=self.start[1:])
        self.chunks = int(self.start[-1])
        self.entries = int(sizes.sum())
        self.addresses = (self.rows.ctypes.data, self.start.ctypes.data)
        self.filled = np.flatnonzero(sizes)
        self.turn: Turn | None = None

    def holds(self, slots: Sequence[Slot]) -> bool:
        """Whether these are the very slots the table was made for."""
        if self.turn is slots:
            return True
        return len(slots) == len(self.slots) and all(map(operator.is_, slots, self.slots))

    def point(self, slots: Sequence[Slot]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Fill in this step's gradients and scalars; returns the scalars, a block of rows for each distinct ``k``."""
        if self.turn is not slots:
            self.rows[:, 3] = np.fromiter(map(Tensor.data_ptr, [slot.g for slot in slots]), np.int64, len(slots))
            if self.seeded:
                self.rows[:, -1] = [slot.key for slot in slots]
            self.turn = slots if isinstance(slots, Turn) else None
        ks = [slot.k for slot in slots]
        if all(map(operator.is_, ks, itertools.repeat(ks[0]))):  # nearly always
            block, _ = columns.block(ks[0])
            self.rows[:, 1] = [block.shape[1] * slot.row for slot in slots] if len(block) > 1 else 0
            return block
        places: dict[int, tuple[int, int]] = {}
        blocks: list[Any] = []
        offsets, end = [], 0
        for slot, k in zip(slots, ks, strict=True):
            place = places.get(id(k))
            if place is None:
                block, n = columns.block(k)
                place = places[id(k)] = end, block.shape[1] if n else 0
                blocks.append(block.reshape(-1))
                end += block.size
            offsets.append(place[0] + place[1] * slot.row)
        self.rows[:, 1] = offsets
        return np.concatenate(blocks)

    def by_tensor(self, partial: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Add up the chunks of each tensor; an empty tensor has none and sums to zero."""
        sums = np.zeros((len(self.slots), partial.shape[1]))
        if self.filled.size:
            sums[self.filled] = np.add.reduceat(partial, self.start[self.filled], axis=0)
        return sums


class Kernel(NamedTuple):
    """A built loop; for a measure, also the position of each term's sum."""

    run: Any
    place: list[int]


_kernels: dict[Any, Kernel] = {}
"""Every loop this process has built or loaded, shared by all optimizers."""


class Native(Executor):
    """Elementwise chains on dense CPU tensors."""

    keeps_forms = True
    reads_columns = True

    def __init__(self) -> None:
        self.tables: dict[Any, Table] = {}

    def accepts(self, chain: Chain, slot: Slot) -> bool:
        known = codegen.STORAGE if slot.forms is None else codegen_forms.STORAGE
        return (
            chain.elementwise
            and slot.p.device.type == "cpu"
            and aligned(slot)
            and all(str(dtype)[6:] in known for dtype in slot.dtypes)
            and (torch.float16 not in slot.dtypes or toolchain.problem("_Float16") is None)  # older compilers lack it
        )

    def prepare(self, chain: Chain, slot: Slot, links: tuple[int, ...] | None = None, *, gauge: bool = False) -> Kernel:
        """The loop of the update (``links=None``), gauged or not, or of a measure, built unless this process has it."""
        forms = slot.forms
        key = (chain.structure, slot.dtypes, forms, links, gauge)
        if key not in _kernels:
            dtypes = [str(d)[6:] for d in slot.dtypes]
            if links is None:
                direction = forms is not None and forms[0] == "kahan"
                program, place = trace_update(chain, slot.state, slot.k, direction=direction), list[int]()
            else:
                program, place = trace_measure(chain, links, slot.state, slot.k)
            kind: Literal["update", "measure"] = "update" if links is None else "measure"
            if forms is None:
                source = codegen.source(program, dtypes, "gauge" if gauge else kind)
            else:
                source = codegen_forms.source(program, dtypes, forms, kind)
            run = toolchain.load(source, contract=kind == "measure").run
            run.restype = None
            run.argtypes = [ctypes.c_int64, *[ctypes.c_void_p] * 4, ctypes.c_int64]
            _kernels[key] = Kernel(run, place)
        return _kernels[key]

    def _call(self, kernel: Kernel, chain: Chain, slots: Sequence[Slot], terms: int) -> tuple[Table, Any]:
        key = (slots[0].dtypes, slots[0].forms, len(slots), id(slots[0]))
        table = self.tables.get(key)
        if table is None or not table.holds(slots):
            if len(self.tables) > 64:
                self.tables.clear()
            table = self.tables[key] = Table(slots)
        k = table.point(slots)
        rows, start = table.addresses
        partial = np.empty((table.chunks, terms)) if terms else None
        threads = Threads.count(table.entries)
        out = None if partial is None else partial.ctypes.data
        kernel.run(len(slots), rows, k.ctypes.data, start, out, threads)
        return table, partial

    def measure(self, chain: Chain, links: Sequence[int], slots: Sequence[Slot]) -> Sums:
        kernel = self.prepare(chain, slots[0], tuple(links))
        table, partial = self._call(kernel, chain, slots, max(kernel.place) + 1)
        return table.by_tensor(partial)[:, kernel.place]

    def update(self, chain: Chain, slots: Sequence[Slot]) -> None:
        self._call(self.prepare(chain, slots[0]), chain, slots, 0)

    def gauged(self, chain: Chain, slots: Sequence[Slot]) -> Sums:
        if slots[0].forms is not None:
            return super().gauged(chain, slots)
        table, partial = self._call(self.prepare(chain, slots[0], gauge=True), chain, slots, 3)
        return table.by_tensor(partial)
