"""A parameter with its slot and all about it that stays the same between steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steepest.core.chain import Chain
from steepest.core.executors import Executor, Slot
from steepest.core.kept import settle
from steepest.core.layout import Layout
from steepest.core.trace import flatten, rebuild

if TYPE_CHECKING:
    from steepest.core.optimizer import Optimizer


class Bucket:
    """Slots that one call of an executor serves: same chain structure, dtypes and device."""

    __slots__ = ("chain", "executor")

    def __init__(self, chain: Chain, executor: Executor) -> None:
        self.chain = chain
        self.executor = executor


class Entry:
    """A parameter with its slot and everything about it that stays the same between steps."""

    __slots__ = (
        "address",
        "bucket",
        "contiguous",
        "dtypes",
        "executor",
        "named",
        "number",
        "param",
        "plan",
        "shape",
        "slot",
        "state",
        "stride",
    )

    def __init__(self, opt: Optimizer, p: Tensor, g: Tensor, chain: Chain, plan: Layout) -> None:
        self.param = p
        self.plan = plan
        self.shape, self.stride, self.address = p.shape, p.stride(), p.data_ptr()
        self.dtypes = (p.dtype, g.dtype)
        if p.is_meta and any(plan.stages):
            raise RuntimeError(
                f"{owner(opt, p)!r} has no values (it is on the meta device), so its gradient has no norm. "
                "Give the model memory first: model.to_empty(device='cpu')."
            )
        if g.shape != p.shape:
            raise RuntimeError(
                f"the gradient of {owner(opt, p)!r} has shape {tuple(g.shape)}, the parameter {tuple(p.shape)}: it was "
                "given other data after backward(). Compute the gradient again, or clear it with zero_grad()."
            )
        self.state = state = opt.state[p]
        real, g = as_real(p), as_real(g.resolve_conj())
        fresh = chain.init(real.detach())
        numbers = zip(plan.numbers, flatten(tuple(plan.memory[i] for i in plan.own)), strict=True)
        for name, value in (("step", 0), *numbers):
            state.setdefault(name, _place(opt, p) if name.partition("_")[0] == "place" else value)
        for name, like in zip(plan.tensors, flatten(fresh), strict=True):
            if name in state:
                state[name] = _checked(opt, p, name, as_real(state[name]), like)
        kept = settle(opt.precision, chain, plan, real.detach(), flatten(fresh), state)
        held = {id(t) for t in (*kept.tensors, *kept.beside)}
        self.named = [(name, t, t.data_ptr()) for name, t in state.items() if isinstance(t, Tensor) and id(t) in held]
        self.slot = Slot(real, g, rebuild(fresh, kept.tensors), (), kept.forms, kept.beside)
        self.number = 0 if self.slot.forms is None else int(_place(opt, p))
        self.contiguous = real.is_contiguous()
        self.executor = opt._executors.choose(chain, self.slot)
        key = (chain.structure, self.slot.dtypes, self.slot.forms, self.executor, real.device)
        self.bucket = opt._buckets.setdefault(key, Bucket(chain, self.executor))

    def current(self, opt: Optimizer, p: Tensor, g: Tensor, plan: Layout) -> bool:
        """Whether nobody has replaced or converted the parameter, its state or its chain since the entry was made."""
        state, known = self.state, opt.state
        if self.param is not p or self.plan is not plan or p not in known or known[p] is not state:
            return False
        for name, t, address in self.named:
            if state.get(name) is not t or t.data_ptr() != address:
                return False
        dtypes = self.dtypes
        return (
            p.dtype is dtypes[0]
            and g.dtype is dtypes[1]
            and p.shape == self.shape
            and (p.is_contiguous() if self.contiguous else p.stride() == self.stride)
            and p.data_ptr() == self.address
        )

    def take(self, g: Tensor) -> None:
        """This step's gradient, laid out as the parameter."""
        slot = self.slot
        if slot.p is not self.param:  # complex: a view as pairs of real numbers
            slot.p, g = as_real(self.param), as_real(g.resolve_conj())
        if g.is_neg() or not (g.is_contiguous() if self.contiguous else g.stride() == slot.p.stride()):
            g = torch.empty_like(slot.p, dtype=g.dtype).copy_(g.detach())
        slot.g = g


def owner(opt: Optimizer, p: Tensor) -> str:
    """The name of a parameter."""
    return next(name for name, q in opt.named_parameters() if q is p)


def _place(opt: Optimizer, p: Tensor) -> float:
    return float(next(i for i, (_, q) in enumerate(opt.named_parameters()) if q is p))


def _checked(opt: Optimizer, p: Tensor, name: str, value: Tensor, like: Tensor) -> Tensor:
    if value.shape != like.shape:
        raise RuntimeError(
            f"{owner(opt, p)!r} has shape {tuple(p.shape)}, but its {name!r} in the state needs another: it has "
            f"{tuple(value.shape)}. Was the parameter replaced? Forget its state first: del optimizer.state[parameter]."
        )
    return value


def as_real(t: Tensor) -> Tensor:
    """Complex entries as pairs of real ones."""
    return torch.view_as_real(t.detach()) if t.is_complex() else t
