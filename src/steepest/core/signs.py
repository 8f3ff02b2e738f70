"""Which state entries can never be negative, and which are copies of weights: found from the formula, by induction.

Eight bits suit the two kinds of state differently (:mod:`steepest.core.executors.storage`), and a copy of weights not
at all.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from steepest.core.chain import Chain
from steepest.core.trace import Graph, flatten, rebuild

Compact = Literal["signed", "nonnegative", "exact"]
"""How an entry is kept in 8 bits; ``"exact"``: not at all, but in float32."""

STEPS = (1, 2, 3, 10, 1000, 1_000_000)
"""Steps at which a number that depends on the step is looked at."""


def compact_forms(chain: Chain) -> tuple[Compact, ...]:
    """For every state tensor of a chain, in order: how 8 bits keep it.

    What a rule says in ``compact`` holds. Otherwise, an entry that starts from the weights is exact, one whose formula
    keeps it above zero if it is there is nonnegative, and the others are signed. A rule that sees whole tensors has no
    formula: its state is exact unless it says otherwise, and what it hands on may have any sign.

    >>> from steepest.rules import adamw
    >>> compact_forms(adamw().build())
    ('signed', 'nonnegative')
    """
    key = chain.structure
    if key not in _known:
        _known[key] = _forms(chain)
    return _known[key]


_known: dict[Any, tuple[Compact, ...]] = {}


def _forms(chain: Chain) -> tuple[Compact, ...]:
    shape = (2,) * max(1, *(link.ndim_min for link in chain.links))
    p = torch.full(shape, 2.0)
    some, other = chain.init(p), chain.init(-p)
    above = _above_zero(chain, some, torch.ones_like(p))
    forms: list[Compact] = []
    for link, s, o in zip(chain.links, some, other, strict=True):
        for name, a, b in zip(type(s)._fields, s, o, strict=True):
            form = link.compact.get(name)
            if form is None and (link.scope == "tensor" or a.shape != p.shape or not torch.equal(a, b)):
                form = "exact"
            forms.append(form or ("nonnegative" if len(forms) in above else "signed"))
    return tuple(forms)


def _above_zero(chain: Chain, state: Any, one: Tensor) -> set[int]:
    """The state entries that start at or above zero and whose update keeps them there, if it keeps the others."""
    graph = Graph()
    numbers = _numbers(chain, state, one)
    s = [graph.input(f"s{i}") for i in range(len(flatten(state)))]
    k = rebuild(numbers[0], [graph.input(f"k{i}", "scalar") for i in range(len(flatten(numbers[0])))])
    after = [graph.lift(x).index for x in _run(chain, graph, rebuild(state, s), k)]
    known = {f"k{i}" for i, values in enumerate(zip(*map(flatten, numbers), strict=True)) if min(values) >= 0}
    kept = {i for i, t in enumerate(flatten(state)) if bool((t >= 0).all())}
    absorbed = [link.curved() for link, part in zip(chain.links, state, strict=True) for _ in part]
    kept -= {i for i in kept if absorbed[i] and after[i] == s[i].index}  # estimates change it
    while True:
        signs = _signs(graph, known | {f"s{i}" for i in kept})
        still = {i for i in kept if signs[after[i]]}
        if still == kept:
            return kept
        kept = still


def _run(chain: Chain, graph: Graph, state: Any, k: Any) -> list[Any]:
    """The new state as formulas; a link that sees whole tensors keeps its own and hands on a number of any sign."""
    g = raw = graph.input("g")
    p = graph.input("p")
    new: list[Any] = []
    for i, (link, s, numbers) in enumerate(zip(chain.links, state, k, strict=True)):
        raw = g if link.marks else raw
        if link.scope == "tensor":
            g = graph.input(f"g{i}")
        else:
            g, s = link.update(g, s, p, numbers, *((raw,) if link.reads_gradient else ()))
        new += flatten(s)
    return new


def _numbers(chain: Chain, state: Any, one: Tensor) -> list[Any]:
    """The scalars of a few steps, as sums of several sizes would make them; none of links that see whole tensors."""
    found = []
    for t in STEPS:
        for size in (1e-3, 1.0, 1e3):
            k: list[Any] = []
            for link, s in zip(chain.links, state, strict=True):
                if link.scope == "tensor":
                    k.append(())
                    continue
                raw = (one,) if link.reads_gradient else ()
                terms = link.measure(one, s, one, link.scalars(t), *raw) if link.measures() else ()
                sums = [size] * (len(terms) + ("loss" in link.needs))
                k.append(link.combine(t, link.start(), sums)[0])
            found.append(tuple(k))
    return found


def _signs(graph: Graph, known: set[str]) -> list[bool]:
    """For each node, whether it is certainly not negative."""
    signs: list[bool] = []
    for node in graph.nodes:
        a = [signs[i] for i in node.args]
        match node.op:
            case "input":
                sign = node.value in known
            case "const":
                sign = isinstance(node.value, float) and node.value >= 0
            case "mul":
                sign = all(a) or node.args[0] == node.args[1]
            case "add" | "div" | "minimum":
                sign = all(a)
            case "maximum":
                sign = any(a)
            case "where":
                sign = a[1] and a[2]
            case "pow":
                sign = a[0]
            case "tanh" | "sign" | "floor" | "ceil" | "expm1" | "log1p":
                sign = a[0]
            case "sqrt" | "abs" | "exp":
                sign = True
            case _:
                sign = node.sort == "truth"
        signs.append(sign)
    return signs
