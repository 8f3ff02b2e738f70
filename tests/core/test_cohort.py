"""Rules that sum over single tensors step all tensors of a group at once: each as if it were alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import steepest.gradients
import steepest.rules
from steepest.core.executors import Choice
from steepest.core.optimizer import Optimizer
from steepest.core.piece import Kind, kinds, piece
from steepest.core.rule import Nothing, Rule, Scalar, rule

EXECUTORS: tuple[Choice, ...] = ("auto", "blocked", "reference")


def by_tensor(kind: Kind[..., Any]) -> bool:
    return any(link.measures() and link.reach == "tensor" for link in kind().build())


RULES = {name: kind for name, kind in kinds(steepest.rules).items() if kind.role == "rule" and by_tensor(kind)}
CLIPS = {name: getattr(steepest.gradients, name) for name in ("adagc", "clip_param_norm", "clip_rms")}


def params_of(seed: int = 0) -> list[nn.Parameter]:
    make = torch.Generator().manual_seed(seed)
    shapes: list[tuple[int, ...]] = [(), (5,), (0, 3), (7, 3), (40, 50), (1,), (3, 4)]
    out = [nn.Parameter(torch.randn(shape, generator=make)) for shape in shapes]
    out[1] = nn.Parameter(out[1].detach().to(torch.bfloat16))
    out[6] = nn.Parameter(out[6].detach().double())
    out[3] = nn.Parameter(torch.zeros(7, 3))
    return out


def gradients(params: Sequence[Tensor], t: int) -> None:
    """Some are missing in some steps, one is zero in one."""
    make = torch.Generator().manual_seed(100 + t)
    for i, p in enumerate(params):
        g = 10.0 ** (i - 3) * torch.randn(p.shape, generator=make)
        p.grad = None if (t, i) in {(0, 4), (2, 3), (2, 0)} else (g * ((t, i) != (3, 4))).to(p.dtype)


def optimizer(kind: Kind[..., Any], params: Sequence[Tensor], executor: Choice, clip: Any = None) -> Optimizer:
    pieces = [(clip, clip.bind((), {}))] if clip is not None else []
    return Optimizer(params, {kind.name: kind}, kind.bind((), {}), gradients=pieces, executor=executor)


def everything(opt: Optimizer, params: Sequence[Tensor]) -> list[Any]:
    return [x for p in params for x in (p.detach(), *(opt.state[p][name] for name in sorted(opt.state[p])))]


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


def test_the_walk_finds_them() -> None:
    assert {"lars", "lamb", "ldog", "novograd", "adamh", "stable_adamw"} <= RULES.keys()


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", RULES)
def test_together_as_alone(name: str, executor: Choice) -> None:
    """One optimizer over all tensors ends with the bits of one optimizer a tensor, memory and step counts too."""
    together, alone = params_of(), params_of()
    opt = optimizer(RULES[name], together, executor)
    single = [optimizer(RULES[name], [p], executor) for p in alone]
    for t in range(6):
        for params, opts in ((together, [opt]), (alone, single)):
            gradients(params, t)
            for o in opts:
                o.step()
    for p, q, o in zip(together, alone, single, strict=True):
        for mine, theirs in zip(everything(opt, [p]), everything(o, [q]), strict=True):
            assert same(mine, theirs)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", CLIPS)
def test_clipping_by_tensor_together_as_alone(name: str, executor: Choice) -> None:
    """Behind it SGD with momentum, which shows what came through."""
    if name == "adagc":
        pytest.skip("its warm-up clips by the norm of the model")
    together, alone = params_of(), params_of()
    sgd = steepest.rules.sgd
    opt = optimizer(sgd, together, executor, CLIPS[name])
    single = [optimizer(sgd, [p], executor, CLIPS[name]) for p in alone]
    for t in range(4):
        for params, opts in ((together, [opt]), (alone, single)):
            gradients(params, t)
            for o in opts:
                o.step()
        seen = [o.metrics["clipped"] for o, p in zip(single, alone, strict=True) if p.grad is not None]
        assert opt.metrics["clipped"] == pytest.approx(sum(seen) / len(seen), rel=1e-12)
    assert all(torch.equal(p, q) for p, q in zip(together, alone, strict=True))


@pytest.mark.parametrize("name", RULES)
def test_resumed_in_the_middle(name: str) -> None:
    sides = []
    for pause in (False, True):
        params = params_of()
        opt = optimizer(RULES[name], params, "auto")
        for t in range(6):
            if pause and t == 3:
                kept = io.BytesIO()
                torch.save(opt.state_dict(), kept)
                kept.seek(0)
                opt = optimizer(RULES[name], params, "auto")
                opt.load_state_dict(torch.load(kept))
            gradients(params, t)
            opt.step()
        sides.append(everything(opt, params))
    assert all(map(same, *sides))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_rule_that_takes_numbers_only(executor: Choice) -> None:
    """A branch on a sum works, tensor by tensor, and so do its metrics."""

    @rule
    class Branching(Rule):
        """The sign of the sum of a tensor's gradient, as its direction."""

        reach: ClassVar[Literal["tensor", "model"]] = "tensor"

        class Memory(NamedTuple):
            seen: Scalar

        class K(NamedTuple):
            sign: Scalar

        def start(self) -> Memory:
            return self.Memory(0.0)

        def measure(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, ...]:
            return (g,)

        def combine(self, t: Scalar, memory: Memory, sums: Sequence[Scalar]) -> tuple[K, Memory]:
            return self.K(1.0 if sums[0] > 0 else -1.0), self.Memory(memory.seen + sums[0])

        def metrics(self, k: K, sums: Sequence[Scalar]) -> dict[str, float]:
            return {"up": float(k.sign > 0)}

        def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
            return k.sign * torch.ones_like(g), s

    @piece("rule")
    def branching(lr: float = 1.0) -> Branching:
        """Its assembly. Source: ours."""
        return Branching()

    params = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    opt = Optimizer(params, {"branching": branching}, {"lr": 1.0}, executor=executor)
    for _ in range(2):
        for p, x in zip(params, (1.0, -1.0, 2.0), strict=True):
            p.grad = torch.full((2,), x)
        opt.step()
    assert [p.tolist() for p in params] == [[-2.0] * 2, [2.0] * 2, [-2.0] * 2]
    assert [opt.state[p]["seen"] for p in params] == [4.0, -4.0, 8.0]
    assert opt.metrics["up"] == pytest.approx(2 / 3)
