"""One step of an optimizer: gather what has a gradient, measure, combine, check, update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.chain import Chain
from steepest.core.executors import Executor, Slot
from steepest.core.executors.base import Sums
from steepest.core.layout import Layout, layout_of
from steepest.core.rule import Rule
from steepest.core.trace import flatten, rebuild

if TYPE_CHECKING:
    from steepest.core.optimizer import Optimizer


class StepRefused(Exception):
    """A guard did not accept the gradients; nothing was written."""

    def __init__(self, link: Rule, metrics: dict[str, float]) -> None:
        super().__init__(type(link).__name__)
        self.link = link
        self.metrics = metrics


class Entry:
    """A parameter with its slot and everything about it that stays the same between steps."""

    __slots__ = ("contiguous", "executor", "param", "slot", "state", "structure", "tensors")

    def __init__(self, p: Tensor, state: dict[str, Any], chain: Chain, plan: Layout) -> None:
        self.param = p
        self.state = state
        self.structure = chain.structure()
        real = torch.view_as_real(p) if p.is_complex() else p
        if "step" not in state or any(name not in state for name in (*plan.tensors, *plan.numbers)):
            fresh = zip(plan.tensors, flatten(chain.init(real.detach())), strict=True)
            numbers = zip(plan.numbers, flatten(plan.memory), strict=True)
            for name, value in (("step", 0), *fresh, *numbers):
                state.setdefault(name, value)
        self.tensors = [state[name] for name in plan.tensors]
        template = chain.init(torch.zeros(0))
        self.slot = Slot(real, real, rebuild(template, [_real(t) for t in self.tensors]))
        self.contiguous = real.is_contiguous()
        self.executor: Executor | None = None

    def current(self, p: Tensor, plan: Layout, structure: Any) -> bool:
        """Whether nobody has replaced the parameter's state (or its chain) since the entry was made."""
        if self.param is not p or self.structure != structure or self.slot.p.dtype != p.dtype:
            return False
        state = self.state
        return all(state.get(name) is t for name, t in zip(plan.tensors, self.tensors, strict=True))


def _real(t: Tensor) -> Tensor:
    return torch.view_as_real(t) if t.is_complex() else t


class Cohort:
    """Parameters of one group with the same step count and memory: they share their scalars."""

    def __init__(self, group: int, chain: Chain, plan: Layout, t: int, memory: Any) -> None:
        self.group = group
        self.chain = chain
        self.plan = plan
        self.t = t
        self.memory = list(memory)
        self.entries: list[Entry] = []
        self.k: list[Any] = []
        for link, past in zip(chain.links, memory, strict=True):
            if link.measures():  # its sums are not known yet
                self.k.append(link.scalars(t))
            else:
                k, new = link.combine(t, past, ())
                self.k.append(k)
                self.memory[len(self.k) - 1] = new

    def share(self) -> None:
        """Hand the scalars to the slots."""
        k = tuple(self.k)
        for entry in self.entries:
            entry.slot.k = k

    def commit(self) -> None:
        """Count the step and keep the memory."""
        names = self.plan.numbers
        for entry in self.entries:
            entry.state["step"] = self.t
            if names:
                entry.state.update(zip(names, flatten(tuple(self.memory)), strict=True))


def take(opt: Optimizer) -> dict[str, float]:
    """Take one step of an optimizer and return its metrics; raises :class:`StepRefused` before anything is written."""
    cohorts = [cohort for index in range(len(opt.param_groups)) for cohort in _gather(opt, index)]
    if not cohorts:
        return {}
    buckets: dict[Any, list[Entry]] = defaultdict(list)
    chains: dict[Any, tuple[Chain, Executor]] = {}
    for cohort in cohorts:
        cohort.share()
        for entry in cohort.entries:
            if entry.executor is None:
                entry.executor = opt._executors.choose(cohort.chain, entry.slot)
            key = (entry.structure, entry.slot.dtypes, id(entry.executor), entry.slot.p.device)
            buckets[key].append(entry)
            chains.setdefault(key, (cohort.chain, entry.executor))
    metrics: dict[str, float] = {}
    rounds = max(len(cohort.plan.stages) for cohort in cohorts)
    prefix = opt.prefix if rounds else 0
    for r in range(rounds):
        _measure(r, prefix, cohorts, buckets, chains, metrics)
    for key, entries in buckets.items():
        chain, executor = chains[key]
        executor.update(chain, [entry.slot for entry in entries])
    for cohort in cohorts:
        cohort.commit()
    torch.autograd.graph.increment_version([entry.param for cohort in cohorts for entry in cohort.entries])
    return metrics


def _gather(opt: Optimizer, index: int) -> list[Cohort]:
    """The cohorts of a group, with this step's gradients in their slots."""
    group = opt.param_groups[index]
    chain = opt.chain(group)
    plan = layout_of(chain)
    structure = chain.structure()
    found: dict[Any, Cohort] = {}
    known = opt._entries
    for position, p in enumerate(group["params"]):
        g = p.grad
        if g is None:
            continue
        if g.layout is not torch.strided:
            raise RuntimeError(
                f"{type(opt).__name__} does not support sparse gradients; {_name(group, position)} has one. "
                "Use nn.Embedding(..., sparse=False), or give that parameter to torch.optim.SparseAdam."
            )
        entry = known.get(id(p))
        if entry is None or not entry.current(p, plan, structure):
            entry = known[id(p)] = Entry(p, opt.state[p], chain, plan)
        slot = entry.slot
        if g.is_complex():
            g = torch.view_as_real(g)
            slot.p = torch.view_as_real(p)
        if g.dtype is not slot.dtypes[1]:
            g = g.to(slot.p.dtype)
        if not (g.is_contiguous() if entry.contiguous else g.stride() == slot.p.stride()):
            g = torch.empty_like(slot.p).copy_(g)
        slot.g = g
        step = entry.state["step"]
        if isinstance(step, Tensor):
            step = entry.state["step"] = int(step)
        numbers = tuple(entry.state[name] for name in plan.numbers)
        key = (step, numbers, position if plan.each else 0)
        cohort = found.get(key)
        if cohort is None:
            cohort = found[key] = Cohort(index, chain, plan, step + 1, rebuild(plan.memory, numbers))
        cohort.entries.append(entry)
    return list(found.values())


def _name(group: dict[str, Any], position: int) -> str:
    names = group.get("param_names")
    return repr(names[position]) if names else f"parameter {position} of its group"


def _measure(
    r: int,
    prefix: int,
    cohorts: Sequence[Cohort],
    buckets: dict[Any, list[Entry]],
    chains: dict[Any, tuple[Chain, Executor]],
    metrics: dict[str, float],
) -> None:
    """One round of sums: over all tensors for the gradient pieces, over a group for its own links, or tensor by tensor."""
    rows: dict[int, Any] = {}
    for key, entries in buckets.items():
        chain, executor = chains[key]
        stages = layout_of(chain).stages
        if r < len(stages):
            sums = executor.measure(chain, stages[r], [entry.slot for entry in entries])
            rows.update(zip(map(id, entries), sums, strict=True))
    totals: dict[Any, Sums] = {}
    columns: dict[int, list[tuple[int, slice]]] = {}
    for number, cohort in enumerate(cohorts):
        if r >= len(cohort.plan.stages):
            continue
        at = 0
        own = np.add.reduce([rows[id(entry)] for entry in cohort.entries])
        columns[number] = []
        for i in cohort.plan.stages[r]:
            where = slice(at, at + cohort.plan.terms[i])
            at = where.stop
            columns[number].append((i, where))
            over = _over(cohort, number, i, prefix)
            totals[over] = totals.get(over, 0.0) + own[where]
    for number, parts in columns.items():
        cohort = cohorts[number]
        for i, _ in parts:
            link = cohort.chain.links[i]
            sums_i = [float(x) for x in totals[_over(cohort, number, i, prefix)]]
            k, cohort.memory[i] = link.combine(cohort.t, cohort.memory[i], sums_i)
            cohort.k[i] = k
            if link.reach == "model":
                metrics.update(link.metrics(k, sums_i))
            if not link.accepts(sums_i):
                raise StepRefused(link, metrics)
        cohort.share()


def _over(cohort: Cohort, number: int, i: int, prefix: int) -> Any:
    if cohort.chain.links[i].reach == "tensor":
        return ("tensor", number, i)
    return ("model", i) if i < prefix else ("group", cohort.group, i)
