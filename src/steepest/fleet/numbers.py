"""The hyperparameters of many members as vectors: a chain whose numbers hold one value for each member."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.groups import plain_value
from steepest.core.layout import layout_of
from steepest.core.optimizer import Optimizer
from steepest.core.rule import Rule
from steepest.core.scheduled import kept_as
from steepest.core.trace import flatten, rebuild


class NotAlike(Exception):
    """Members whose numbers cannot be vectors together; they step one by one."""


def is_number(value: Any) -> bool:
    """Whether a value is a plain number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def column(values: Sequence[Any]) -> Any:
    """Values of the members: numbers that differ as a float64 column ``(K, 1)``, what is equal once."""
    first = values[0]
    if isinstance(first, tuple) and all(isinstance(v, tuple) and len(v) == len(first) for v in values):
        return tuple(column(part) for part in zip(*values, strict=True))
    if all(type(v) is type(first) and v == first for v in values):
        return first
    if all(map(is_number, values)):
        return torch.tensor([[float(v)] for v in values], dtype=torch.float64)
    raise NotAlike(f"{first!r} beside {next(v for v in values if v != first)!r}")


class Recipe(NamedTuple):
    """How a chain follows the schedules: for each link, the fields that are a base value times a factor."""

    chain: Chain
    scaled: dict[int, list[tuple[str, Any, str]]]
    rate: tuple[Any, str | None] | None


class Numbers:
    """What the members' optimizers hold as numbers, and the chains that are made of them at each step.

    Args:
        optimizers: Of members that have the same groups, methods, pieces and wrappers.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        first = optimizers[0]
        self.gradients = [
            (kind, [o.base_gradients[i] for o in optimizers]) for i, (kind, _) in enumerate(first.gradients)
        ]
        self.wrappers = [(kind, [o.base_wrappers[i] for o in optimizers]) for i, (kind, _) in enumerate(first.wrappers)]
        self._gradients = [(kind, _columns(base)) for kind, base in self.gradients]
        self._wrappers = [(kind, _columns(base)) for kind, base in self.wrappers]
        self._groups = [
            _columns([_base(o.param_groups[i]) for o in optimizers]) for i in range(len(first.param_groups))
        ]
        self._last: tuple[Any, list[Chain]] | None = None
        self.rate: Any = None
        self._recipes: dict[Any, Recipe | None] = {}
        self._schedulers: list[Any] = []
        self._kinds: list[int] = []
        known: dict[Any, int] = {}
        for optimizer in optimizers:
            scheduler: Any = optimizer.scheduler
            alike = None if scheduler is None else (scheduler.schedules, scheduler.clock)
            if alike not in known:
                known[alike] = len(known)
                self._schedulers.append(scheduler)
            self._kinds.append(known[alike])
        self._stateful = any(x.stateful for s in self._schedulers if s is not None for x in s.schedules)

    def factors(self, steps: Sequence[int]) -> dict[str, Any]:
        """What the schedules say for each member's step: a number where all agree, else a column."""
        if not self._stateful and min(steps) == max(steps):
            own = [{} if s is None else s.factors(steps[0]) for s in self._schedulers]
            if len(own) == 1:
                return dict(own[0])
            said = [own[kind] for kind in self._kinds]
        else:
            said = [
                {} if o.scheduler is None else o.scheduler.factors(t)
                for o, t in zip(self.optimizers, steps, strict=True)
            ]
        names = dict.fromkeys(itertools.chain.from_iterable(said))
        return {name: column([float(f.get(name, 1.0)) for f in said]) for name in names}

    def chains(self, steps: Sequence[int]) -> list[Chain]:
        """The chain of every group, with this step's numbers."""
        factors = self.factors(steps)
        if self._last is not None and _same(self._last[0], factors):
            return self._last[1]
        made = [self._moved_chain(i, factors) for i in range(len(self._groups))]
        self._last = (factors, made)
        return made

    def _moved_chain(self, i: int, factors: Mapping[str, Any]) -> Chain:
        """The chain of a group; where schedules only scale fields of its links, without assembling it again."""
        if any(not isinstance(f, float) or f == 0 for f in factors.values()):
            return self._chain(i, factors)
        key = (i, *factors)
        if key not in self._recipes:
            self._recipes[key] = self._recipe(i, list(factors))
        recipe = self._recipes[key]
        if recipe is None:
            return self._chain(i, factors)
        links = list(recipe.chain.links)
        for n, fields in recipe.scaled.items():
            links[n] = dataclasses.replace(links[n], **{f: base * factors[name] for f, base, name in fields})  # type: ignore[type-var]
        if i == 0 and recipe.rate is not None:
            base, name = recipe.rate
            self.rate = base if name is None else base * factors[name]
        return Chain(tuple(links))

    def _recipe(self, i: int, names: Sequence[str]) -> Recipe | None:
        """Which fields are a hyperparameter times a factor, found by moving the factors twice."""
        probes = [
            {name: 0.61 + 0.01 * n for n, name in enumerate(names)},
            {name: 0.37 / (1 + n) for n, name in enumerate(names)},
        ]
        before = self.rate
        one, two = (self._chain(i, probe) for probe in probes)
        self.rate = before
        bases: list[tuple[Any, str]] = []
        for name in names:
            if (found := kept_as(self._groups[i], name)) is not None:
                value = self._groups[i][found[0]]
                bases.append((value if found[1] is None else value[found[1]], name))
            bases += [(base[name], name) for _, base in (*self._gradients, *self._wrappers) if name in base]
        scaled: dict[int, list[tuple[str, Any, str]]] = {}
        if one.structure != two.structure:
            return None
        for n, (a, b) in enumerate(zip(one.links, two.links, strict=True)):
            for field in vars(a):
                x, y = getattr(a, field), getattr(b, field)
                if _equal(x, y):
                    continue
                fits = [(v, m) for v, m in bases if _equal(v * probes[0][m], x) and _equal(v * probes[1][m], y)]
                if not fits:
                    return None
                scaled.setdefault(n, []).append((field, *fits[0]))
        rate = self._groups[i].get("lr")
        moved = (kept_as(self._groups[i], name) for name in names)
        scales = [name for name, found in zip(names, moved, strict=True) if found == ("lr", None)]
        return Recipe(one, scaled, None if rate is None else (rate, scales[0] if scales else None))

    def _chain(self, i: int, factors: Mapping[str, Any]) -> Chain:
        first = self.optimizers[0]
        group = _moved(self._groups[i], factors)
        method = group["method"]
        if i == 0:
            self.rate = group.get("lr")
        stated = first._adjustable[method]
        parts: list[Rule | Chain] = []
        for kind, base in self._gradients:
            own = _moved_pieces(base, factors)
            parts.append(kind.function(**{n: group[n] if n in stated and n in group else v for n, v in own.items()}))
        if group["maximize"]:
            raise NotAlike("maximize")
        inner = chain(first.methods[method].function(**{n: group[n] for n in first._names[method]}))
        around = [kind.function(**_moved_pieces(base, factors)) for kind, base in self._wrappers]
        for wrapper in sorted(around, key=lambda w: w.distance):
            inner = wrapper.wrap(inner, group)
        return chain(*parts, inner)


def _base(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's hyperparameters before schedules."""
    own = {n: plain_value(v) for n, v in group.items() if n not in ("params", "param_names")}
    for name in [n for n in own if f"initial_{n}" in own]:
        own[name] = own[f"initial_{name}"]
    return own


def _columns(bases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if any(base.keys() != bases[0].keys() for base in bases):
        raise NotAlike("other hyperparameters")
    return {name: column([base[name] for base in bases]) for name in bases[0]}


def _moved(group: Mapping[str, Any], factors: Mapping[str, Any]) -> dict[str, Any]:
    own = dict(group)
    for name, factor in factors.items():
        if (found := kept_as(own, name)) is None:
            continue
        key, place = found
        own.setdefault(f"initial_{key}", own[key])
        if place is None:
            own[key] = own[key] * factor
        else:
            values = list(own[key])
            values[place] = values[place] * factor
            own[key] = tuple(values)
    return own


def _moved_pieces(base: Mapping[str, Any], factors: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value * factors[name] if name in factors else value for name, value in base.items()}


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(_equal(a[n], b[n]) for n in a)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
    return bool(a == b)


def row_of(values: Any, k: int, j: int = 0) -> Any:
    """The value of member ``k`` (and its tensor ``j``) as a float; tuples keep their type."""
    if isinstance(values, tuple):
        parts = [row_of(v, k, j) for v in values]
        return type(values)(*parts) if hasattr(values, "_fields") else tuple(parts)
    if isinstance(values, Tensor):
        if not values.ndim:
            return float(values)
        return float(values[k if values.shape[0] > 1 else 0, j if values.shape[1] > 1 else 0])
    return values


def rows_of(values: Any, members: int) -> list[Any]:
    """:func:`row_of` for every member, where no number differs between tensors: the columns are read once.

    >>> rows_of((2.0, torch.tensor([[1.0], [3.0]])), 2)
    [(2.0, 1.0), (2.0, 3.0)]
    """
    leaves = [_each(leaf, members) for leaf in flatten(values)]
    return [rebuild(values, row) for row in zip(*leaves, strict=True)] if leaves else [values] * members


def _each(leaf: Any, members: int) -> list[Any]:
    if not isinstance(leaf, Tensor):
        return [leaf] * members
    own = leaf.flatten().tolist() if leaf.ndim < 2 else leaf[:, 0].tolist()
    return own if len(own) == members else own[:1] * members


def link_of(link: Rule, k: int) -> Rule:
    """A link with one member's numbers."""
    moved = {name: row_of(v, k) for name, v in vars(link).items() if isinstance(v, Tensor)}
    return dataclasses.replace(link, **moved) if moved else link  # type: ignore[type-var]


def table(values: Any, members: int, tensors: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Nested numbers as ``(members, tensors, N)``."""
    leaves = flatten(tuple(values))
    out = np.empty((members, tensors, len(leaves)))
    for n, leaf in enumerate(leaves):
        out[:, :, n] = leaf.numpy() if isinstance(leaf, Tensor) else leaf
    return out


def _unscheduled(optimizer: Optimizer, i: int) -> Chain:
    """An optimizer's own chain of a group, before schedules."""
    held = optimizer.gradients, optimizer.wrappers
    bases = optimizer.base_gradients, optimizer.base_wrappers
    optimizer.gradients, optimizer.wrappers = (
        [(kind, base) for (kind, _), base in zip(pieces, own, strict=True)]
        for pieces, own in zip(held, bases, strict=True)
    )
    try:
        return optimizer.chain({**optimizer.param_groups[i], **_base(optimizer.param_groups[i])})
    finally:
        optimizer.gradients, optimizer.wrappers = held


def agrees(numbers: Numbers, members: int) -> bool:
    """Whether the vectors give what each member's own chain gives, tried on a few steps with made-up sums."""
    some = sorted({0, members // 2, members - 1})
    random = np.random.default_rng(0)
    for i in range(len(numbers.optimizers[0].param_groups)):
        wide = numbers._chain(i, {})
        own = [_unscheduled(o, i) for o in numbers.optimizers]
        plan = layout_of(own[0])
        if any(c.structure != own[0].structure for c in own) or wide.structure != own[0].structure:
            return False
        for n, link in enumerate(wide.links):
            sums = random.uniform(0.5, 2.0, (3, members, max(1, plan.terms[n]) + ("loss" in link.needs)))
            for different in (False, True):
                past = _spread(link.start(), members)
                alone: list[Any] = [own[k].links[n].start() for k in range(members)]
                for step in range(3):
                    t: Any = step + 1
                    if different:
                        t = torch.tensor([[float(step + 1 + k % 2)] for k in range(members)], dtype=torch.float64)
                    given = [torch.from_numpy(sums[step, :, c : c + 1].copy()) for c in range(sums.shape[2])]
                    measured = link.measures()
                    k_wide, past = link.combine(t, past, given if measured else ())
                    before = link.scalars(t)
                    for k in some:
                        t_k = step + 1 + k % 2 if different else step + 1
                        mine = [float(x) for x in sums[step, k]] if measured else ()
                        k_own, alone[k] = own[k].links[n].combine(t_k, alone[k], mine)
                        pairs = [
                            (row_of(k_wide, k), k_own),
                            (row_of(past, k), alone[k]),
                            (row_of(before, k), own[k].links[n].scalars(t_k)),
                        ]
                        for a, b in pairs:
                            if not np.allclose(flatten(a), flatten(b), rtol=1e-12, atol=0, equal_nan=True):
                                return False
    return True


def _spread(past: Any, members: int) -> Any:
    """A memory before the first step, one for each member."""
    return rebuild(past, [torch.full((members, 1), float(x), dtype=torch.float64) for x in flatten(past)])
