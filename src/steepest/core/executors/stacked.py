"""Rules that see whole tensors (matrices): tensors of one shape are stacked and stepped together."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from steepest.core import columns
from steepest.core.chain import Chain
from steepest.core.executors.base import Executor, Slot, Sums, compute_dtype, keep, part, store
from steepest.core.executors.reference import lifted
from steepest.core.rule import Nothing, Rule, rule
from steepest.core.trace import flatten, measured, rebuild

SMALL = 1 << 15
"""Tensors of at most so many entries are stacked on a CPU; a larger one keeps all threads busy alone."""
MOST = 1 << 22
"""Entries in a stack, or in directions that wait, so that what a step needs beside the model stays small."""
FEW = 4
"""Fewer tensors than this are stepped one by one where a rule has no faster way for a stack than vmap."""
ELSEWHERE = 1 << 24
"""Both limits of entries, on other devices, which a single matrix leaves idle."""


class Stacked(Executor):
    """Chains with a link that sees the whole tensor. Its sums and steps agree with the reference to rounding.

    On a CPU the elementwise links before the first such link (of stacked tensors) and behind the last one run at
    memory speed, by the executor that an elementwise chain has.

    Args:
        choose: Finds the executor of an elementwise chain.
    """

    reads_columns = True

    def __init__(self, choose: Callable[[Chain, Slot], Executor]) -> None:
        self.choose = choose
        self.heads: dict[Any, Head] = {}

    def accepts(self, chain: Chain, slot: Slot) -> bool:
        tensors = (slot.p, slot.g, *slot.tensors)
        plain = all(type(t).__torch_dispatch__ == Tensor.__torch_dispatch__ for t in tensors)
        return plain and not chain.elementwise

    @torch.no_grad()
    def measure(self, chain: Chain, links: Sequence[int], slots: Sequence[Slot]) -> Sums:
        _divide(slots)
        head = elementwise_head(chain)
        early = [i for i in links if i < head]
        late = [i for i in links if i >= head]
        parts: list[Sums] = []
        if early:
            with part(slots, 0, early[-1] + 1) as heads:
                before = Chain(chain.links[: early[-1] + 1])
                parts.append(self.choose(before, heads[0]).measure(before, early, heads))
        if late:
            rows = []
            for slot in slots:
                g, s, p = lifted(slot, compute_dtype(slot))
                terms = measured(chain, late, g, s, p, slot.k)
                rows.append(torch.stack([term.sum(dtype=torch.float64) for term in terms]))
            parts.append(torch.stack(rows).cpu().numpy())
        return np.concatenate(parts, axis=1)

    @torch.no_grad()
    def update(self, chain: Chain, slots: Sequence[Slot]) -> None:
        if not all(reads_columns(chain, k) for k in {id(slot.k): slot.k for slot in slots}.values()):
            _divide(slots)
        stop = elementwise_tail(chain)
        front = Chain(chain.links[:stop])
        least = FEW if any(map(mapped, front)) else 2
        waiting: list[tuple[Slot, Tensor]] = []
        entries = 0
        for stack in stacks(slots):
            if stack[0].p.device.type != "cpu":
                _alone(chain, stack[0]) if len(stack) == 1 else _together(chain, stack)
                continue
            if len(stack) < least:
                waiting += [(slot, _direction(front, slot)) for slot in stack]
            else:
                waiting += zip(stack, self._directions(chain, stack, stop), strict=True)
            entries += len(stack) * stack[0].p.numel()
            if entries >= (MOST if len(stack) > 1 else SMALL):  # what is just made is still in the cache
                self._finish(chain, waiting, stop)
                waiting, entries = [], 0
        self._finish(chain, waiting, stop)

    def _directions(self, chain: Chain, slots: Sequence[Slot], stop: int) -> Tensor:
        """Run the links before ``stop`` on a stack: keep their state, and return the directions."""
        dtype = compute_dtype(slots[0])
        start = 0 if any(link.reads_gradient for link in chain) else elementwise_head(chain)
        grads = [x.g for x in slots]
        g = self._head(chain, slots, start).directions(chain) if start else torch.stack(grads).to(dtype)
        p = torch.stack([x.p for x in slots]).to(dtype)
        like = slots[0].state[start:stop]
        first = len(flatten(slots[0].state[:start]))
        last = first + len(flatten(like))
        kept = list(zip(*[x.tensors[first:last] for x in slots], strict=True))
        s = rebuild(like, [_stack(column).to(dtype) for column in kept])
        u, new = _mapped(Chain(chain.links[start:stop]), g, s, p, _numbers_of(slots)[start:stop])
        for column, value in zip(kept, flatten(new), strict=True):
            if value.numel():
                torch._foreach_copy_(column, value.unbind())
        return u.to(dtype)

    def _head(self, chain: Chain, slots: Sequence[Slot], stop: int) -> Head:
        key = (len(slots), id(slots[0]))
        found = self.heads.get(key)
        if found is None or not found.holds(slots):
            if len(self.heads) > 64:
                self.heads.clear()
            found = self.heads[key] = Head(chain, slots, stop, self.choose)
        return found

    def _finish(self, chain: Chain, waiting: Sequence[tuple[Slot, Tensor]], stop: int) -> None:
        """Take the step along directions, through the links from ``stop`` on."""
        behind = Chain(chain.links[stop:])
        alike: dict[Executor, list[Slot]] = defaultdict(list)
        numbers: dict[int, Any] = {}
        for slot, u in waiting:
            u = u if u.stride() == slot.p.stride() else torch.empty_like(slot.p, dtype=u.dtype).copy_(u)
            own = slot.parts.get((stop, -1))
            if own is None:
                own = slot.parts[stop, -1] = Slot(slot.p, u, slot.state[stop:])
                own.executor = self.choose(behind, own)
            own.p, own.g, own.k = slot.p, u, numbers.setdefault(id(slot.k), slot.k[stop:])
            alike[own.executor].append(own)
        for executor, group in alike.items():
            executor.update(behind, group)
            for own in group:
                del own.g


def elementwise_head(chain: Chain) -> int:
    """How many links stand before the first that sees the whole tensor."""
    return next((i for i, link in enumerate(chain.links) if link.scope == "tensor"), len(chain))


def elementwise_tail(chain: Chain) -> int:
    """Where the links begin that need nothing but the direction, entry by entry."""
    return 1 + max(i for i, link in enumerate(chain.links) if link.scope == "tensor" or link.reads_gradient)


class Kind(NamedTuple):
    """What stays the same about a slot."""

    number: int
    """One for every set of shapes, layout, device and dtypes: cheaper to compare than those."""
    dtype: torch.dtype
    memory: frozenset[int]


_numbers: dict[Any, int] = {}


def kind_of(slot: Slot) -> Kind:
    """The slot's kind, found once."""
    kind: Kind | None = slot.kind
    if kind is None:
        p = slot.p
        key = (p.shape, p.stride(), p.device, slot.dtypes, tuple(t.shape for t in slot.tensors))
        memory = frozenset(t.untyped_storage().data_ptr() for t in (p, *slot.tensors))
        kind = slot.kind = Kind(_numbers.setdefault(key, len(_numbers)), compute_dtype(slot), memory)
    return kind


def mapped(link: Rule) -> bool:
    """Whether a stack is slow for a link, as vmap runs it."""
    return link.reads_gradient or (link.scope == "tensor" and type(link).stacked is Rule.stacked)


def reads_columns(chain: Chain, k: Any) -> bool:
    """Whether those links of which each tensor has its own numbers can step a stack of tensors together."""
    own = [link for link, k_i in zip(chain, k, strict=True) if columns.divided(k_i)]
    together = all(link.reads_columns and link.scope == "tensor" for link in own)
    return together and not (own and any(link.reads_gradient for link in chain))


def _divide(slots: Sequence[Slot]) -> None:
    """Give each slot numbers of its own where there are columns of them."""
    known: dict[int, tuple[Any, list[Any]]] = {}
    for slot in slots:
        k = slot.k
        if id(k) not in known:
            known[id(k)] = k, list(columns.rows(k, n)) if (n := columns.divided(k)) else []
        own = known[id(k)][1]
        slot.k = own[slot.row] if own else k


def _own(slot: Slot) -> Any:
    return columns.one(slot.k, slot.row) if columns.divided(slot.k) else slot.k


def _numbers_of(slots: Sequence[Slot]) -> Any:
    k = slots[0].k
    return columns.some(k, [slot.row for slot in slots]) if columns.divided(k) else k


def stacks(slots: Sequence[Slot]) -> Iterator[list[Slot]]:
    """Slots that one call can serve: the same shapes, layouts, dtypes and scalars, and not too many entries."""
    alike: dict[Any, list[Slot]] = defaultdict(list)
    for slot in slots:
        alike[kind_of(slot).number, id(slot.k)].append(slot)
    for group in alike.values():
        p = group[0].p
        small, most = (SMALL, MOST) if p.device.type == "cpu" else (ELSEWHERE, ELSEWHERE)
        n = max(1, most // max(1, p.numel())) if p.numel() <= small else 1
        for i in range(0, len(group), n):
            yield group[i : i + n]


def _alone(chain: Chain, slot: Slot) -> None:
    g, s, p = lifted(slot, compute_dtype(slot))
    u, new = chain.update(g, s, p, _own(slot))
    store(slot, p - u, flatten(new))


def _together(chain: Chain, slots: Sequence[Slot]) -> None:
    kept = [list(column) for column in zip(*[(x.p, x.g, *x.tensors) for x in slots], strict=True)]
    dtype = compute_dtype(slots[0])
    p, g, *tensors = (torch.stack(column).to(dtype) for column in kept)
    u, new = _mapped(chain, g, rebuild(slots[0].state, tensors), p, _numbers_of(slots))
    for column, value in zip([kept[0], *kept[2:]], [p - u, *flatten(new)], strict=True):
        torch._foreach_copy_(column, list(value))


def _mapped(chain: Chain, g: Tensor, s: Any, p: Tensor, k: Any) -> tuple[Tensor, Any]:
    """The chain on a stack: link by link where none reads the gradient from before."""
    if any(link.reads_gradient for link in chain):
        out: tuple[Tensor, Any] = torch.vmap(lambda g, s, p: chain.update(g, s, p, k))(g, s, p)
        return out
    states = []
    for link, s_i, k_i in zip(chain.links, s, k, strict=True):
        g, new = link.stacked(g, s_i, p, k_i)
        states.append(new)
    return g, tuple(states)


def _direction(front: Chain, slot: Slot) -> Tensor:
    """Run the first links on one tensor: keep their state, and return the direction."""
    kind, n = kind_of(slot), len(front.links)
    g, s, p = lifted(slot, kind.dtype)
    u: Tensor
    u, new = front.update(g, s[:n], p, _own(slot)[:n])
    values = flatten(new)
    if u.untyped_storage().data_ptr() in kind.memory:
        u = u.clone()  # it is about to be overwritten
    keep(slot.tensors[: len(values)], values)
    return u if u.dtype is kind.dtype else u.to(kind.dtype)


def _stack(column: Sequence[Tensor]) -> Tensor:
    """A new first axis; what has no entries need not be copied."""
    first = column[0]
    return torch.stack(column) if first.numel() else first.expand(len(column), *first.shape)  # type: ignore[arg-type]


@rule
class _Keep(Rule):
    """The last link before those that see whole tensors: put the direction aside, and leave the parameter alone."""

    class State(NamedTuple):
        u: Tensor

    def update(self, g: Any, s: State, p: Any, k: Nothing) -> tuple[Any, State]:
        return torch.zeros_like(g), self.State(g)


class Head:
    """The first links of a chain on the tensors of a stack, whose directions go into a buffer that is kept."""

    def __init__(
        self, chain: Chain, slots: Sequence[Slot], stop: int, choose: Callable[[Chain, Slot], Executor]
    ) -> None:
        self.stop = stop
        self.slots = list(slots)
        p = slots[0].p
        self.u = torch.empty((len(slots), *p.shape), dtype=compute_dtype(slots[0]), device=p.device)
        rows = zip(slots, self.u, strict=True)
        self.own = [Slot(x.p, x.g, (*x.state[: self.stop], _Keep.State(row))) for x, row in rows]
        self.executor = choose(self._chain(chain), self.own[0])
        for own in self.own:
            del own.g

    def holds(self, slots: Sequence[Slot]) -> bool:
        """Whether these are the very slots it was made for."""
        return len(slots) == len(self.slots) and all(map(operator.is_, slots, self.slots))

    def _chain(self, chain: Chain) -> Chain:
        return Chain((*chain.links[: self.stop], _Keep()))

    def directions(self, chain: Chain) -> Tensor:
        """The directions after the first links, whose state is written."""
        k = (*self.slots[0].k[: self.stop], Nothing())
        for slot, own in zip(self.slots, self.own, strict=True):
            own.p, own.g, own.k = slot.p, slot.g, k
        self.executor.update(self._chain(chain), self.own)
        for own in self.own:
            del own.g  # or zero_grad() would not free it
        return self.u
