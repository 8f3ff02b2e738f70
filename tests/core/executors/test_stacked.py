"""Rules that see whole tensors: stacked, they do what the reference does one by one."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from steepest import rules
from steepest.core.chain import Chain, Mark, chain
from steepest.core.columns import column, one
from steepest.core.executors import Executors, Native, Reference, Slot, Stacked
from steepest.core.executors.stacked import MOST, SMALL, stacks
from steepest.core.layout import layout_of
from steepest.core.optimizer import Optimizer
from steepest.core.piece import piece
from steepest.core.rule import Rule, rule
from steepest.core.trace import flatten, rebuild
from steepest.gradients import clip_norm, gradient_noise, nonfinite
from steepest.rules import LearningRate, WeightDecay
from steepest.rules.sgd import HeavyBall


@rule
class Whitened(Rule):
    """A stand-in for Shampoo: divide by the root of a running row covariance; keeps states of two shapes."""

    scope = "tensor"
    ndim_min = 2

    class State(NamedTuple):
        cov: Tensor
        size: Tensor

    def init(self, p: Tensor) -> State:
        n = p.shape[-2]
        return self.State(torch.eye(n, dtype=p.dtype).expand(*p.shape[:-2], n, n).clone(), p.new_zeros(()))

    def update(self, g: Any, s: State, p: Any, k: Any) -> tuple[Any, State]:
        cov = s.cov + g @ g.mT
        return torch.linalg.solve(cov, g), self.State(cov, g.abs().sum())


@piece("rule")
def whitened(lr: float = 0.1, weight_decay: float = 0.1) -> Chain:
    """Momentum, whitening, decay."""
    return chain(HeavyBall(0.9), Whitened(), WeightDecay(weight_decay), LearningRate(lr))


SETTING = {"lr": 0.1, "weight_decay": 0.1}
SHAPES = [(4, 3), (3, 5), (4, 3), (4, 3), (4, 3), (4, 3), (0, 3), (2, 3, 4), (300, 200), (1, 1)]


def run(executor: Any, dtype: torch.dtype, grad_dtype: torch.dtype | None = None, steps: int = 5) -> list[Tensor]:
    make = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.randn(shape, generator=make, dtype=torch.float64).to(dtype)) for shape in SHAPES]
    params.append(nn.Parameter(torch.randn(3, 4, generator=make, dtype=torch.float64).to(dtype).t()))
    pieces = [(kind, kind.bind((), {})) for kind in (nonfinite, clip_norm)]
    opt = Optimizer(params, {"whitened": whitened}, SETTING, gradients=pieces, executor=executor)
    for t in range(steps):
        for i, p in enumerate(params):
            g = torch.randn(p.shape, generator=make, dtype=torch.float64).to(dtype)
            p.grad = None if (t, i) == (2, 3) else g
        opt.step()
    assert opt.metrics["grad_norm"] > 0
    return [p.detach() for p in params] + [t for s in opt.state.values() for t in s.values() if isinstance(t, Tensor)]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12), (torch.bfloat16, 1e-2)], ids=str
)
def test_equals_the_reference(dtype: torch.dtype, tolerance: float) -> None:
    for executor in ("auto", "stacked"):
        for got, want in zip(run(executor, dtype), run("reference", dtype), strict=True):
            assert got.dtype == want.dtype
            torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


def slots_of(shapes: list[tuple[int, ...]], links: Chain) -> list[Slot]:
    k = tuple(link.scalars(1) for link in links)
    out = []
    for shape in shapes:
        p = torch.zeros(shape)
        out.append(Slot(p, torch.ones(shape), links.init(p), k))
    return out


def test_what_is_stacked() -> None:
    links = chain(Whitened())
    slots = slots_of([(4, 3), (3, 4), (4, 3), (200, 200), (200, 200)], links)
    assert [len(stack) for stack in stacks(slots)] == [2, 1, 1, 1]
    assert SMALL < 200 * 200
    slots[2].k = (LearningRate().scalars(2),)  # of another group
    assert [len(stack) for stack in stacks(slots)] == [1, 1, 1, 1, 1]


def test_a_stack_has_a_limit() -> None:
    n = MOST // SMALL
    links = chain(Whitened())
    slot = slots_of([(SMALL // 4, 4)], chain(LearningRate()))[0]
    assert [len(stack) for stack in stacks([slot] * (n + 1))] == [n, 1]
    assert not links.elementwise


def test_norms_before_the_rule_are_measured_by_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    links = chain(clip_norm().build(), Whitened())
    slots = slots_of([(4, 3), (5, 3)], links)
    executors = Executors()
    chosen = executors.choose(links, slots[0])
    assert isinstance(chosen, Stacked)
    asked: list[Any] = []
    monkeypatch.setattr(chosen, "choose", lambda c, s: asked.append(c.elementwise) or executors.choose(c, s))
    sums = chosen.measure(links, (0,), slots)
    assert asked == [True]
    assert sums.tolist() == [[12.0], [15.0]]
    assert all(not hasattr(own, "g") for slot in slots for own in slot.parts.values())  # a gradient can be freed


def test_terms_behind_the_rule_are_measured_too() -> None:
    links = chain(Whitened(), clip_norm().build())
    slots = slots_of([(4, 3), (5, 3)], links)
    for executor in (Stacked(lambda *_: Reference()), Reference()):
        got = executor.measure(links, (1,), slots)
        want = [
            torch.linalg.solve(torch.eye(n) + 3 * torch.ones(n, n), torch.ones(n, 3)).square().sum() for n in (4, 5)
        ]
        assert got[:, 0].tolist() == pytest.approx([float(x) for x in want], rel=1e-5)


def test_elementwise_chains_and_tensor_subclasses_are_left_to_others() -> None:
    class Strange(Tensor):
        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    stacked = Stacked(lambda *_: Native())
    plain = torch.zeros(2, 2)
    assert not stacked.accepts(chain(LearningRate()), Slot(plain, plain, ()))
    assert stacked.accepts(chain(Whitened()), Slot(plain, plain, ()))
    odd = torch.Tensor._make_subclass(Strange, plain)
    assert not stacked.accepts(chain(Whitened()), Slot(odd, plain, ()))


def test_layout_asks_with_a_shape_that_the_rule_takes() -> None:
    assert layout_of(chain(Whitened(), LearningRate())).tensors == ("cov", "size")


def test_a_parameter_with_too_few_dimensions_is_refused_by_name() -> None:
    message = (
        r"whitened needs a matrix; 'head.bias' has shape \(10,\). "
        r"Route the rest elsewhere: partition\(matrix=whitened\(...\), rest=adamw\(...\)\)."
    )
    named = [("head.weight", nn.Parameter(torch.zeros(10, 2))), ("head.bias", nn.Parameter(torch.zeros(10)))]
    with pytest.raises(ValueError, match=message):
        Optimizer(named, {"whitened": whitened}, {"lr": 0.1, "weight_decay": 0.0})
    opt = Optimizer(named[:1], {"whitened": whitened}, {"lr": 0.1, "weight_decay": 0.0})
    with pytest.raises(ValueError, match=message):
        opt.add_param_group({"params": named[1:]})
    assert len(opt.param_groups) == 1
    with pytest.raises(ValueError, match="'parameter 0' has shape"):
        Optimizer([named[1][1]], {"whitened": whitened}, {"lr": 0.1, "weight_decay": 0.0})


def test_complex_matrices_are_refused() -> None:
    with pytest.raises(ValueError, match="'parameter 0' is complex64"):
        Optimizer(
            [nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))],
            {"whitened": whitened},
            {"lr": 0.1, "weight_decay": 0.0},
        )


@rule
class Delayed(Rule):
    """Steps along the gradient before: its direction is the state that is overwritten."""

    scope = "tensor"
    ndim_min = 2

    class State(NamedTuple):
        last: Tensor

    def init(self, p: Tensor) -> State:
        return self.State(torch.zeros_like(p))

    def update(self, g: Any, s: State, p: Any, k: Any) -> tuple[Any, State]:
        return s.last, self.State(g)


@rule
class Agreeing(Rule):
    """Keeps what has the sign of the gradient before the rule."""

    reads_gradient = True

    def update(self, g: Any, s: Any, p: Any, k: Any, raw: Any) -> tuple[Any, Any]:  # type: ignore[override]
        return torch.where(g * raw > 0, g, 0.0 * g), s


@pytest.mark.parametrize("count", [3, 5], ids=["few", "many"])
@pytest.mark.parametrize("shape", [(3, 4), (200, 200)], ids=["stacked", "alone"])
@pytest.mark.parametrize(
    "links",
    [
        chain(Delayed(), LearningRate(0.1)),
        chain(HeavyBall(0.9), Delayed()),
        chain(Delayed(), Whitened(), HeavyBall(0.5)),
        chain(HeavyBall(0.9), Mark(), HeavyBall(0.5), Whitened(), Agreeing(), LearningRate(0.1)),
    ],
    ids=["state is the direction", "nothing behind", "nothing before", "gradient from before"],
)
def test_chains_of_every_form(links: Chain, shape: tuple[int, int], count: int) -> None:
    results = []
    for executor in (Executors().choose, lambda *_: Reference()):
        make = torch.Generator().manual_seed(0)
        slots = []
        for _ in range(count):
            p = torch.randn(shape, generator=make, dtype=torch.float64)
            slots.append(Slot(p, p, links.init(p)))
        for t in (1, 2, 3):
            k = tuple(link.combine(t, link.start(), ())[0] for link in links)
            for slot in slots:
                slot.g, slot.k = torch.randn(shape, generator=make, dtype=torch.float64), k
            executor(links, slots[0]).update(links, slots)
        results.append([x for slot in slots for x in (slot.p, *slot.tensors)])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_an_own_way_for_stacks_is_the_rule_on_each() -> None:
    own = [kind for kind in vars(rules).values() if isinstance(kind, type) and issubclass(kind, Rule)]
    own = [kind for kind in own if kind.stacked is not Rule.stacked]
    assert {"Adafactor", "CAME", "Orthogonalize", "ParameterScale", "SM3", "Langevin", "Apollo"} <= {
        kind.__name__ for kind in own
    }
    for kind, shape in itertools.product(
        own, [(4, 3), (3, 4), (1, 5), (2, 3, 4), (4, 2, 3, 3), (5,), (1,), (), (0, 3)]
    ):
        link = kind()
        if len(shape) < link.ndim_min or (0 in shape and link.ndim_min):
            continue
        make = torch.Generator().manual_seed(0)
        p = torch.randn((6, *shape), generator=make, dtype=torch.float64)
        ones = [link.init(x) for x in p]
        stack = rebuild(ones[0], [torch.stack(column) for column in zip(*map(flatten, ones), strict=True)])
        for t in range(1, 12):
            g = torch.randn((6, *shape), generator=make, dtype=torch.float64)
            k = link.scalars(t) if link.measures() else link.combine(t, link.start(), ())[0]
            if link.reads_columns:  # each has its place, in no order
                k = k._replace(place=column([4, 0, 2, 9, 1, 7]))
            u, stack = link.stacked(g, stack, p, k)
            for i, x in enumerate(ones):
                want, ones[i] = link.update(g[i], x, p[i], one(k, i))
                for a, b in zip(flatten((u, stack)), flatten((want, ones[i])), strict=True):
                    torch.testing.assert_close(a[i], b, rtol=1e-10, atol=1e-10, msg=f"{link} on {shape}, step {t}")


@pytest.mark.parametrize("size", [6, 300], ids=["stacked", "alone"])
@pytest.mark.parametrize(
    "pieces", [(), (gradient_noise,), (gradient_noise, clip_norm)], ids=["rule", "noise", "noise, norm"]
)
def test_tensors_that_differ_by_their_place_step_together(size: int, pieces: tuple[Any, ...]) -> None:
    """Noise of their own, whatever else stands in the chain: bit for bit as one by one."""

    def run(executor: Any) -> tuple[list[Tensor], Optimizer]:
        make = torch.Generator().manual_seed(0)
        params = [nn.Parameter(torch.randn(size, 5, generator=make)) for _ in range(6)]
        setting = {"lr": 0.1, "temperature": 0.5, "weight_decay": 0.0, "noise_seed": 0}
        with_defaults = [(kind, kind.bind((), {})) for kind in pieces]
        opt = Optimizer(params, {"sgld": rules.sgld}, setting, gradients=with_defaults, executor=executor)
        for t in range(3):
            for i, p in enumerate(params):
                p.grad = None if (t, i) == (1, 2) else torch.randn(p.shape, generator=make)
            opt.step()
        return [p.detach() for p in params], opt

    (got, opt), (want, _) = run("auto"), run("reference")
    for a, b in zip(got, want, strict=True):
        if clip_norm in pieces:  # sums agree to rounding
            torch.testing.assert_close(a, b)
        else:
            assert torch.equal(a, b)
    assert len({state["place"] for state in opt.state.values()}) == 6
    assert all(isinstance(state["place"], float) for state in opt.state.values())
