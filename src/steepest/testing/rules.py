"""What every update rule must do, as checks that any author can run.

.. code-block:: python

    import pytest
    from steepest.testing import RULE_CHECKS, rule_variants

    @pytest.mark.parametrize("check", RULE_CHECKS, ids=lambda check: check.__name__)
    @pytest.mark.parametrize("rule", rule_variants(MyRule), ids=repr)
    def test_my_rule(rule, check):
        check(rule)

or, in one line, ``rule_contract(MyRule())``. A check raises AssertionError and says what it saw.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import math
import pickle
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from steepest.core.chain import Mark, chain
from steepest.core.errors import HyperparameterError
from steepest.core.executors import Blocked, Executor, Native, Reference, Slot, Stacked
from steepest.core.rule import Bounds, Rule, hyper
from steepest.core.rule import rule as make_rule
from steepest.core.toolchain import problem
from steepest.core.trace import flatten, rebuild

DTYPES = (torch.float32, torch.float64)
SHAPES: tuple[tuple[int, ...], ...] = ((5,), (3, 4), (2, 1, 3, 2), (), (0,), (2, 0))
STEPS = 3
SECTIONS = ("Args:", "Shapes:", "Memory:", "Source:", "Example:")


@make_rule
class _Half(Rule):
    """A neighbour in a chain: halves the direction."""

    factor: float = hyper(default=0.5, bounds="(0, 1)")

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return 0.5 * g, s


def require(condition: bool, message: str) -> None:
    """Raise AssertionError with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def fitted(rule: Rule, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape, with as many dimensions of length 2 behind it as the rule asks for."""
    return (*shape, *[2] * (rule.ndim_min - len(shape)))


def ramp(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A parameter whose entries go from -1 to 1."""
    return torch.linspace(-1, 1, math.prod(shape), dtype=dtype).reshape(tuple(shape))


def gradients(shape: Sequence[int], dtype: torch.dtype, n: int, seed: int = 0) -> list[Tensor]:
    """Gradients of many sizes, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(n, *shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    return list((draw[0] * 10.0 ** draw[1]).to(dtype))


def hyperparameters(rule: Rule) -> dict[str, Bounds]:
    """The bounds of every hyperparameter."""
    fields = dataclasses.fields(rule)  # type: ignore[arg-type]
    return {f.name: f.metadata["bounds"] for f in fields if "bounds" in f.metadata}


def nearby(value: float, bounds: Bounds, counts: bool = False) -> list[float]:
    """Three different values inside the bounds, the first of them the given one."""
    tries = [value, 0.9 * value, 0.5 * value, 0.05, 0.3, 2.0, 1.0, 0.0]
    return list(dict.fromkeys(x for x in tries if x in bounds and math.isfinite(x) and not (counts and x % 1)))[:3]


def whole(rule: Rule) -> set[str]:
    """The hyperparameters that are whole numbers."""
    return {f.name for f in dataclasses.fields(rule) if f.metadata.get("whole")}  # type: ignore[arg-type]


def rule_variants(cls: type[Rule]) -> list[Rule]:
    """A rule with its default hyperparameters in every combination of its flags."""
    hints = typing.get_type_hints(cls)
    choices: dict[str, tuple[Any, ...]] = {}
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        if hints[f.name] is bool:
            choices[f.name] = (False, True)
        elif typing.get_origin(hints[f.name]) is Literal:
            choices[f.name] = typing.get_args(hints[f.name])
    return [cls(**dict(zip(choices, values, strict=True))) for values in itertools.product(*choices.values())]


def step(rule: Rule, g: Any, s: Any, p: Any, t: Any, memory: Any) -> tuple[Any, Any, Any]:
    """One step of a rule alone: ``(direction, new state, new memory)``."""
    raw = (g,) if rule.reads_gradient else ()
    k = rule.scalars(t) if rule.measures() else None
    sums = [float(term.double().sum()) for term in rule.measure(g, s, p, k, *raw)]
    k, memory = rule.combine(t, memory, [*sums, *_loss(rule)])
    u, s = rule.update(g, s, p, k, *raw)
    return u, s, memory


def _loss(rule: Rule) -> list[float]:
    """A loss for a rule that asks for one."""
    return [1.0] if "loss" in rule.needs else []


def walks(
    rule: Rule, shape: Sequence[int], dtype: torch.dtype, n: int = STEPS
) -> Iterator[tuple[Tensor, Any, Tensor, Any]]:
    """``(g, state before, direction, state after)`` of a few steps."""
    shape = fitted(rule, shape)
    start = ramp(shape, dtype)
    p, s, memory = start, rule.init(start), rule.start()
    for t, g in enumerate(gradients(shape, dtype, n), start=1):
        u, new, memory = step(rule, g, s, p, t, memory)
        yield g, s, u, new
        p, s = p - u, new


def check_pure(rule: Rule) -> None:
    """``update`` writes none of its arguments, and the same arguments give the same result, bit for bit."""
    p, g = ramp(fitted(rule, (5,)), torch.float32), gradients(fitted(rule, (5,)), torch.float32, 1)[0]
    s, memory = rule.init(p), rule.start()
    for t in range(1, STEPS + 1):
        before = copy.deepcopy((g, s, p, memory))
        first, second = (step(rule, g, s, p, t, memory) for _ in range(2))
        for was, now in zip(flatten(before), flatten((g, s, p, memory)), strict=True):
            if not _same(was, now):
                raise AssertionError(f"{rule}: step {t} changed one of its arguments from {was} to {now}.")
        for a, b in zip(flatten(first), flatten(second), strict=True):
            if not _same(a, b):
                raise AssertionError(f"{rule}: step {t} gave {a}, and {b} from the same arguments.")
        _, s, memory = first


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


def check_shape_and_dtype(rule: Rule) -> None:
    """The direction has the parameter's shape and dtype, also for tensors with one entry or none."""
    for dtype, shape in itertools.product(DTYPES, SHAPES):
        for g, _, u, _ in walks(rule, shape, dtype):
            require(
                u.shape == g.shape and u.dtype == dtype,
                f"{rule}: for {tuple(shape)} {dtype} the direction is {tuple(u.shape)} {u.dtype}.",
            )


def check_state(rule: Rule) -> None:
    """The state is the class's ``State``, and a step keeps its fields, shapes and dtypes; it survives pickling."""
    for dtype, shape in itertools.product(DTYPES, SHAPES):
        for _, s, _, new in walks(rule, shape, dtype):
            require(isinstance(s, rule.State), f"{rule}: init gave a {type(s).__name__}, not its State.")
            require(type(new) is type(s), f"{rule}: update turned {type(s).__name__} into {type(new).__name__}.")
            for name, old, now in zip(s._fields, s, new, strict=True):
                require(
                    (now.shape, now.dtype) == (old.shape, old.dtype),
                    f"{rule}: state {name} went from {tuple(old.shape)} {old.dtype} to {tuple(now.shape)} {now.dtype}.",
                )
    s = rule.init(torch.zeros(fitted(rule, (2,))))
    require(type(pickle.loads(pickle.dumps(s))) is type(s), f"{rule}: its state does not survive pickling.")
    start = rule.start()
    require(isinstance(start, rule.Memory), f"{rule}: start gave a {type(start).__name__}, not its Memory.")


def check_finite(rule: Rule) -> None:
    """Finite gradients, zeros and the first step among them, give finite directions."""
    for dtype in DTYPES:
        shape = fitted(rule, (4,))
        p = torch.ones(shape, dtype=dtype)
        zero = torch.zeros_like(p)
        s, memory = rule.init(p), rule.start()
        for t, g in enumerate([zero, *gradients(shape, dtype, 4), zero, zero], start=1):
            u, s, memory = step(rule, g, s, p, t, memory)
            require(bool(torch.isfinite(u).all()), f"{rule}: gradient {g.tolist()} gave {u.tolist()} at step {t}.")


def check_scalars(rule: Rule) -> None:
    """All that a step needs from the host is a tuple of numbers, none of them NaN, at early and at late steps."""
    for t in (1, 2, 3, 10, 1_000, 10_000_000):
        k = rule.scalars(t) if rule.measures() else None
        one = torch.ones(fitted(rule, (1,)))
        raw = (one,) if rule.reads_gradient else ()
        sums = [1.0] * len(rule.measure(one, rule.init(one), one, k, *raw))
        k, memory = rule.combine(t, rule.start(), [*sums, *_loss(rule)])
        remembered = [(name, x) for name, part in zip(memory._fields, memory, strict=True) for x in flatten(part)]
        for name, value in [*zip(k._fields, k, strict=True), *remembered]:
            require(
                isinstance(value, (int, float)) and not math.isnan(value),
                f"{rule}: {name} is {value!r} at step {t}; it must be a number.",
            )


def shared(rule: Rule) -> set[str]:
    """The hyperparameters that members of one stack must share; where there are any, they share the step count too."""
    return {f.name for f in dataclasses.fields(rule) if f.metadata.get("shared")}  # type: ignore[arg-type]


def check_vmap(rule: Rule) -> None:
    """Members stacked along a new axis, each with its own hyperparameters and step count, equal members one by one."""
    common, bounds = shared(rule), hyperparameters(rule)
    options = {n: nearby(getattr(rule, n), bounds[n], n in whole(rule)) for n in bounds if n not in common}
    members = [dataclasses.replace(rule, **{n: v[i % len(v)] for n, v in options.items()}) for i in range(3)]  # type: ignore[type-var]
    values = {n: torch.tensor([getattr(m, n) for m in members], dtype=torch.float64) for n in options}
    stacked = dataclasses.replace(rule, **values)  # type: ignore[type-var]
    for dtype, shape in itertools.product(DTYPES, (fitted(rule, shape) for shape in ((4,), (2, 3), ()))):
        p = torch.stack(gradients(shape, dtype, 3, seed=1))
        states, memories = [m.init(x) for m, x in zip(members, p, strict=True)], [m.start() for m in members]
        together = rebuild(states[0], [torch.stack(leaves) for leaves in zip(*map(flatten, states), strict=True)])
        memory = stacked.start()
        for t in range(STEPS):
            g = torch.stack(gradients(shape, dtype, 3, seed=2 + t))
            counts = [t + 1 if common else t + 1 + 4 * i for i in range(3)]
            u, together, memory = _stacked_step(stacked, g, together, p, counts, memory)
            for i, member in enumerate(members):
                alone, states[i], memories[i] = step(member, g[i], states[i], p[i], counts[i], memories[i])
                for a, b in zip(flatten((u, together)), flatten((alone, states[i])), strict=True):
                    seen = f"{rule}: member {i} of a stack gave {a[i].tolist()}, alone {b.tolist()}."
                    torch.testing.assert_close(a[i], b, msg=seen)


def _stacked_step(rule: Rule, g: Tensor, s: Any, p: Tensor, counts: list[int], memory: Any) -> tuple[Tensor, Any, Any]:
    common = bool(shared(rule))

    def numbers(k: Any) -> Any:
        return rebuild(k, [x if common and not isinstance(x, Tensor) else wide(x) for x in flatten(k)])

    def wide(x: Any) -> Tensor:
        return torch.as_tensor(x, dtype=torch.float64).expand(len(counts)).to(g.dtype)

    def over_members(function: Callable[..., Any], k: Any) -> Any:
        dims = rebuild(k, [0 if isinstance(x, Tensor) else None for x in flatten(k)]) if flatten(k) else 0
        return torch.vmap(function, in_dims=(0, 0, 0, dims, *[0 for _ in raw]))(g, s, p, k, *raw)

    t: Any = counts[0] if common else torch.tensor(counts, dtype=torch.float64)
    raw = (g,) if rule.reads_gradient else ()
    sums: list[Tensor] = []
    if rule.measures():
        terms = over_members(rule.measure, numbers(rule.scalars(t)))
        sums = [term.double().reshape(len(counts), -1).sum(1) for term in terms]
    k, memory = rule.combine(t, memory, [*sums, *_loss(rule)])
    u, s = over_members(rule.update, numbers(k))
    return u, s, memory


def check_executors(rule: Rule) -> None:
    """An elementwise rule gives the same bits compiled, in blocks and eagerly, whatever the size of the tensor.

    A rule that sees the whole tensor gives the same to rounding, for tensors that are stacked and alone.
    """
    if rule.scope != "element":
        _check_stacked(rule)
        return
    fast: list[Executor] = [Blocked()] if problem() else [Blocked(), Native()]
    for dtype in DTYPES:
        truth = _run(rule, Reference(), dtype)
        for executor in fast:
            for got, want in zip(_run(rule, executor, dtype), truth, strict=True):
                if not torch.equal(got, want):
                    name = type(executor).__name__
                    raise AssertionError(f"{rule}: {name} differs from the reference in {dtype}: {got} is not {want}.")


def _run(rule: Rule, executor: Executor, dtype: torch.dtype) -> list[Tensor]:
    """Parameters and state after a few steps on a scalar, an odd and a large tensor."""
    links = chain(_Half(), rule)
    out = []
    for shape in ((), (7, 3), (20_000,)):
        p = ramp(shape, dtype)
        slot, memory = Slot(p, p, links.init(p)), rule.start()
        for t, g in enumerate(gradients(shape, dtype, STEPS), start=1):
            slot.g, sums = g, list[float]()
            if rule.measures():
                slot.k = (_Half().scalars(t), rule.scalars(t))
                executor.measure(links, (1,), [slot])
                sums = [float(x) for x in Reference().measure(links, (1,), [slot])[0]]
            k, memory = rule.combine(t, memory, [*sums, *_loss(rule)])
            slot.k = (_Half().scalars(t), k)
            executor.update(links, [slot])
        out += [p, *slot.tensors]
    return out


def _check_stacked(rule: Rule) -> None:
    links = chain(_Half(), rule)
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        shapes = [fitted(rule, shape) for shape in ((7, 3), (3, 7), (7, 3), (7, 3))]
        for t in range(1, STEPS + 1):
            results = []
            for executor in (Stacked(lambda *_: Reference()), Reference()):
                slots = []
                for i, shape in enumerate(shapes):
                    p, g = ramp(shape, dtype), gradients(shape, dtype, 1, seed=10 * t + i)[0]
                    slots.append(Slot(p, g, links.init(p)))
                k = (_Half().scalars(t), rule.scalars(t))
                sums: list[float] = []
                for slot in slots:
                    slot.k = k
                if rule.measures():
                    sums = [float(x) for x in executor.measure(links, (1,), slots).sum(axis=0)]
                numbers, _ = rule.combine(t, rule.start(), [*sums, *_loss(rule)])
                k = (_Half().scalars(t), numbers)
                for slot in slots:
                    slot.k = k
                executor.update(links, slots)
                names = rule.State._fields
                kept = [[x for n, x in zip(names, s.tensors, strict=True) if n not in rule.arbitrary] for s in slots]
                results.append([x for slot, tensors in zip(slots, kept, strict=True) for x in (slot.p, *tensors)])
            for got, want in zip(*results, strict=True):
                if not torch.allclose(got, want, tolerance, tolerance * float(want.abs().sum())):
                    raise AssertionError(
                        f"{rule}: stacked, it differs from the reference in {dtype}: {got} is not {want}."
                    )


def check_chain(rule: Rule) -> None:
    """In a chain a rule does what it does alone; nesting does not matter."""
    before = chain(_Half(), Mark()) if rule.reads_gradient else chain(_Half())
    joined = chain(before, rule, _Half())
    require(
        joined == chain(before, chain(rule, _Half())) == chain(chain(before, rule), _Half()),
        f"{rule}: chains with it are not associative.",
    )
    p, g = ramp(fitted(rule, (5,)), torch.float32), gradients(fitted(rule, (5,)), torch.float32, 1)[0]
    k = rule.scalars(1) if rule.measures() else None
    raw = (0.5 * g,) if rule.reads_gradient else ()
    sums = [float(term.double().sum()) for term in rule.measure(0.5 * g, rule.init(p), p, k, *raw)]
    k, _ = rule.combine(1, rule.start(), [*sums, *_loss(rule)])
    nothing = tuple(link.scalars(1) for link in before)
    u, s = joined.update(g, joined.init(p), p, (*nothing, k, _Half().scalars(1)))
    alone, after, _ = step(rule, 0.5 * g, rule.init(p), p, 1, rule.start())
    for a, b in zip(flatten((u, s[len(before)])), flatten((0.5 * alone, after)), strict=True):
        require(torch.equal(a, b), f"{rule}: in a chain it gave {a}, alone {b}.")


def check_hyperparameters(rule: Rule) -> None:
    """Every number has bounds, and a value outside them is refused with a message that names it."""
    for f in dataclasses.fields(rule):  # type: ignore[arg-type]
        number = isinstance(getattr(rule, f.name), (int, float)) and not isinstance(getattr(rule, f.name), bool)
        require(not number or "bounds" in f.metadata, f"{rule}: {f.name} has no bounds; declare it with hyper(...).")
    for name, bounds in hyperparameters(rule).items():
        bad: list[Any] = [math.nan, "0.1", None, True]
        if name in whole(rule):
            bad.append(getattr(rule, name) + 0.5)
        if math.isfinite(bounds.low):
            bad.append(bounds.low - 1 if bounds.text[0] == "[" else bounds.low)
        if math.isfinite(bounds.high):
            bad.append(bounds.high + 1 if bounds.text[-1] == "]" else bounds.high)
        for value in bad:
            try:
                dataclasses.replace(rule, **{name: value})  # type: ignore[type-var]
            except HyperparameterError as error:
                require(name in str(error), f"{rule}: the error for {name}={value!r} does not name it: {error}")
            else:
                raise AssertionError(f"{rule}: {name}={value!r} is accepted, though its bounds are {bounds.text}.")


def check_value(rule: Rule) -> None:
    """A rule is a value: frozen, hashable, equal to its copies, and its structure does not depend on its numbers."""
    for twin in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule)), dataclasses.replace(rule)):  # type: ignore[type-var]
        require(twin == rule and hash(twin) == hash(rule), f"{rule}: a copy is not equal to it.")
    for name, bounds in hyperparameters(rule).items():
        try:
            setattr(rule, name, 0.5)
        except dataclasses.FrozenInstanceError:
            pass
        else:
            raise AssertionError(f"{rule}: {name} can be assigned; make the class with @rule.")
        for value in nearby(getattr(rule, name), bounds, name in whole(rule)):
            moved = dataclasses.replace(rule, **{name: value})  # type: ignore[type-var]
            require(
                moved.structure() == rule.structure(),
                f"{rule}: {name}={value} changes its structure, so moving it would recompile.",
            )


def check_docstring(rule: Rule) -> None:
    """The docstring holds the maths, every argument, shapes, memory, source and an example.

    A rule that only looks (``transparent``) has no maths and need not name a source.
    """
    text = inspect.getdoc(type(rule)) or ""
    for section in SECTIONS:
        needed = not (rule.transparent and section == "Source:")
        require(section in text or not needed, f"{type(rule).__name__}: the docstring lacks {section!r}.")
    require(rule.transparent or ":math:" in text or ".. math::" in text, f"{type(rule).__name__}: no maths.")
    require(">>> " in text, f"{type(rule).__name__}: the example is not one that can be run (>>>).")
    for f in dataclasses.fields(rule):  # type: ignore[arg-type]
        require(f"{f.name}:" in text, f"{type(rule).__name__}: the docstring does not explain {f.name!r}.")


def check_torch_names(rule: Rule) -> None:
    """Names under which torch.optim keeps the same state belong to fields that exist, each once."""
    names = rule.torch_names
    fields = {*rule.State._fields, *rule.Memory._fields}
    require(set(names) <= fields, f"{rule}: torch_names speaks of {sorted(set(names) - fields)}, which it has not.")
    require(len(set(names.values())) == len(names), f"{rule}: torch_names gives two fields one name.")


RULE_CHECKS: tuple[Callable[[Rule], None], ...] = (
    check_pure,
    check_shape_and_dtype,
    check_state,
    check_finite,
    check_scalars,
    check_vmap,
    check_executors,
    check_chain,
    check_hyperparameters,
    check_value,
    check_docstring,
    check_torch_names,
)
"""Every check of the contract; each takes a rule."""


def rule_contract(rule: Rule) -> None:
    """Run all checks on one rule."""
    for check in RULE_CHECKS:
        check(rule)
