"""What SAM and its kin share: climb, take a second gradient there, come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from steepest.core.chain import chain
from steepest.core.entry import as_real
from steepest.core.executors import Executor, Executors, Slot
from steepest.core.rule import Rule
from steepest.core.wrapper import Closure, Wrapper
from steepest.wrappers.replay import Replay

if TYPE_CHECKING:
    from steepest.core.optimizer import Optimizer


@dataclass(frozen=True)
class Sharpness(Wrapper):
    """Step with the gradient at the place that a rule climbs to.

    A first gradient that is not finite is left for the guard to refuse: nobody climbs anywhere.
    """

    climb: Rule

    needs_closure: ClassVar[bool] = True
    alone: ClassVar[str] = "takes the gradient at another place"

    def gradient(self, optimizer: Optimizer, closure: Closure) -> Any:
        """The loss at the weights, and the gradient from above them."""
        again = Replay(optimizer)
        loss = closure()
        with climbed(optimizer, self.climb) as there:
            if there:
                with again:
                    closure()
        return loss


def trained(optimizer: Optimizer) -> list[Tensor]:
    """The parameters that have a gradient."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


@contextmanager
def climbed(optimizer: Optimizer, climb: Rule) -> Iterator[bool]:
    """Inside, the parameters are where a rule's step leads; afterwards where they were, bit for bit.

    Gives False, and moves nothing, where there is no finite gradient to climb by.
    """
    links, executors = chain(climb), Executors(optimizer.executor)
    alike: dict[Any, tuple[Executor, list[Slot]]] = {}
    params = trained(optimizer)
    down = {p for group in optimizer.param_groups if group["maximize"] for p in group["params"]}
    if not params or any(p.grad.layout is not torch.strided for p in params if p.grad is not None):
        yield False  # the step says what is wrong with sparse gradients
        return
    for p in params:
        slot = _slot(p, climb)
        executor = executors.choose(links, slot)
        alike.setdefault((executor, slot.dtypes, p.device, p in down), (executor, []))[1].append(slot)
    groups = [(key[-1], executor, slots) for key, (executor, slots) in alike.items()]
    for _, _, slots in groups:
        for slot in slots:
            slot.k = (climb.scalars(1),)
    total = sum(float(executor.measure(links, (0,), slots).sum()) for _, executor, slots in groups)
    if not isfinite(total):
        yield False
        return
    k, _ = climb.combine(1, climb.start(), [total])
    for turned, executor, slots in groups:
        for slot in slots:
            slot.k = (k._replace(scale=-k.scale) if turned else k,)
        executor.update(links, slots)
    torch.autograd.graph.increment_version(params)
    moved = [slot for _, _, slots in groups for slot in slots]
    for slot in moved:
        del slot.g
    try:
        yield True
    finally:
        with torch.no_grad():
            for slot in moved:
                slot.p.copy_(slot.tensors[0])
        torch.autograd.graph.increment_version(params)


def _slot(p: Tensor, climb: Rule) -> Slot:
    """A parameter with its gradient in the same layout, and room for where it started."""
    g = p.grad
    assert g is not None
    real, g = as_real(p.detach()), as_real(g.detach().resolve_conj())
    if g.is_neg() or g.stride() != real.stride():
        g = torch.empty_like(real, dtype=g.dtype).copy_(g)
    state: Any = climb.State
    return Slot(real, g, (state(torch.empty_like(real)),))
