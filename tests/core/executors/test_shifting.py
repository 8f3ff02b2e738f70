"""A rule whose new state is what another of its states was: nothing is written over before it is read."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from steepest.core import toolchain
from steepest.core.chain import Chain, chain
from steepest.core.optimizer import Optimizer
from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, rule


@rule
class Shift(Rule):
    """The gradients of the last three steps, oldest first in effect: ``c <- b, b <- a, a <- g``; and p in another."""

    class State(NamedTuple):
        c: Tensor
        b: Tensor
        a: Tensor
        old: Tensor

    def init(self, p: Tensor) -> Shift.State:
        return self.State(*(torch.zeros_like(p) for _ in range(4)))

    def update(self, g: Any, s: Shift.State, p: Any, k: Nothing) -> tuple[Any, Shift.State]:
        return 0.1 * (s.c + 2 * s.b + 3 * s.a) + 0.01 * s.old, self.State(c=s.b, b=s.a, a=g, old=p)


@rule
class Turn(Rule):
    """Three states that change places, forwards and at once."""

    class State(NamedTuple):
        a: Tensor
        b: Tensor
        c: Tensor

    def init(self, p: Tensor) -> Turn.State:
        return self.State(torch.ones_like(p), 2 * torch.ones_like(p), 3 * torch.ones_like(p))

    def update(self, g: Any, s: Turn.State, p: Any, k: Nothing) -> tuple[Any, Turn.State]:
        return s.a * g, self.State(a=s.b, b=s.c, c=s.a)


@piece("rule")
def shift() -> Chain:
    return chain(Shift())


@piece("rule")
def turn() -> Chain:
    return chain(Turn())


SHAPES = ((7,), (64, 33), (40_000,))
EXECUTORS = ["blocked", pytest.param("native", marks=pytest.mark.skipif(toolchain.problem() is not None, reason="-"))]


def taken(kind: Any, executor: Any, dtype: torch.dtype, precision: str) -> tuple[list[Tensor], list[Tensor]]:
    make = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.randn(shape, generator=make).to(dtype)) for shape in SHAPES]
    opt = Optimizer(params, {kind.name: kind}, {}, executor=executor, precision=precision)
    for _ in range(5):
        for p in params:
            p.grad = torch.randn(p.shape, generator=make).to(dtype)
        opt.step()
    states = [t for p in params for t in opt.state[p].values() if isinstance(t, Tensor)]
    return [p.detach() for p in params], states


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.float32, "same"), (torch.float64, "same"), (torch.bfloat16, "same"), (torch.bfloat16, "kahan"),
     (torch.bfloat16, "compact"), (torch.float32, "8bit")],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("kind", [shift, turn], ids=lambda kind: kind.name)
def test_it_agrees_with_the_reference(kind: Any, executor: Any, dtype: torch.dtype, precision: str) -> None:
    found, truth = (taken(kind, which, dtype, precision) for which in (executor, "reference"))
    for mine, theirs in zip(found, truth, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
