"""Tracing: a rule becomes a graph; what is no elementwise formula is refused in words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from steepest.core.chain import chain
from steepest.core.codegen import source
from steepest.core.rule import Nothing, Rule, rule
from steepest.core.trace import Formula, Graph, TraceError, flatten, rebuild, trace_measure, trace_update
from steepest.gradients import ClipNorm, NonFinite
from steepest.rules import Adam, LearningRate


def test_equal_expressions_are_one_node() -> None:
    graph = Graph()
    x = graph.input("p")
    assert (x * x + x * x).index == (x.square() + torch.square(x)).index
    assert len([n for n in graph.nodes if n.op == "mul"]) == 1


def test_numbers_stay_numbers() -> None:
    graph = Graph()
    k = graph.input("k0", "scalar")
    assert graph.nodes[(1 - k * 2).index].sort == "scalar"
    assert graph.nodes[(graph.input("p") * k).index].sort == "tensor"
    assert graph.nodes[(graph.input("p") > k).index].sort == "truth"


def test_a_sum_that_two_links_want_is_taken_once() -> None:
    links = chain(NonFinite(), ClipNorm(1.0))
    program, place = trace_measure(links, (0, 1), links.init(torch.zeros(0)), ((), ()))
    assert len(program.outputs) == 1
    assert place == [0, 0]


def test_unchanged_state_is_not_written() -> None:
    @rule
    class Keep(Rule):
        def init(self, p: Any) -> Any:
            return (p,)

        def update(self, g: Any, s: Any, p: Any, k: Nothing) -> Any:
            return g + s[0], s

    program = trace_update(chain(Keep()), ((torch.zeros(0),),), ((),))
    assert [name for name, _ in program.outputs] == ["p"]
    assert "const float* __restrict__ s0" in source(program, ["float32"] * 3, "update")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda x: torch.linalg.norm(x), "not among the functions of an elementwise rule"),
        (lambda x: x.shape, "cannot use .shape"),
        (lambda x: x if x > 0 else -x, "cannot branch on a value; use torch.where"),
        (lambda x: x + "1", "not with str"),
    ],
)
def test_what_is_not_a_formula_is_refused(use: Any, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        use(Graph().input("p"))


def test_a_rule_that_changes_its_state_structure_is_refused() -> None:
    @rule
    class Grows(Rule):
        def update(self, g: Any, s: Any, p: Any, k: Nothing) -> Any:
            return g, (g,)

    with pytest.raises(TraceError, match="returned 1 state entries where init gave 0"):
        trace_update(chain(Grows()), ((),), ((),))


def test_flatten_and_rebuild_are_inverse() -> None:
    links = chain(Adam(), LearningRate(0.1))
    k = tuple(link.scalars(3) for link in links)
    assert rebuild(k, flatten(k)) == k


OPERATIONS = {
    "arithmetic": lambda x, y: (x + y) * 2 - x / (y + 3) + (-x) ** 2 + 1 / (2 + x * x) + (3 - x),
    "powers": lambda x, y: abs(x) ** 0.5 + (1 + x * x) ** -0.5 + x**3 + (2 + y * y) ** -1 + (2 + y * y) ** -2 + x**1,
    "sizes": lambda x, y: torch.maximum(x, y) - torch.minimum(x, y) + x.clamp(-0.5, 0.5) + torch.clamp(y, min=0.1),
    "choices": lambda x, y: torch.where((x > y) & ~(x <= 0) | (y == x), x, torch.sign(y)) + torch.where(x != y, 1.0, x),
    "roots": lambda x, y: torch.sqrt(abs(x)) + torch.rsqrt(1 + y * y) + torch.reciprocal(2 + y * y) + torch.abs(x),
    "whole": lambda x, y: torch.floor(x * 3) + torch.ceil(y * 3) + torch.zeros_like(x) + torch.ones_like(y),
    "truths": lambda x, y: (x * y > 0) * x,
}
SMOOTH = {
    "exponentials": lambda x, y: torch.exp(x) + torch.log(1 + y * y) + torch.expm1(x) + torch.log1p(abs(y)),
    "angles": lambda x, y: torch.atan2(x, y) + torch.sin(x) + torch.cos(y) + torch.tanh(x),
    "general powers": lambda x, y: abs(x) ** 1.7,
}


def calculated(formula: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A formula of p and g, run natively: the parameter becomes formula(p, g)."""
    from steepest.core.executors import Native, Slot

    @rule
    class Apply(Rule):
        def update(self, g: Any, s: Any, p: Any, k: Nothing) -> Any:
            return formula(p, g), s

    Apply.__qualname__ = str(id(formula))
    p = x.clone()
    Native().update(chain(Apply()), [Slot(p, y, ((),), ((),))])
    return x - p


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", [*OPERATIONS, *SMOOTH])
def test_every_operation_is_torchs(name: str, dtype: torch.dtype) -> None:
    special = torch.tensor([0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e-40, 3.7], dtype=dtype)
    x, y = (t.reshape(-1).contiguous() for t in torch.meshgrid(special, special, indexing="ij"))
    formula = (OPERATIONS | SMOOTH)[name]
    want = x - (x - formula(x, y))
    got = calculated(formula, x, y)
    if name in OPERATIONS:
        torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)
    else:  # libm and torch's vector functions differ in the last digit
        torch.testing.assert_close(got, want, rtol=1e-6 if dtype == torch.float32 else 1e-14, atol=1e-7, equal_nan=True)


def test_a_formula_is_not_a_value() -> None:
    with pytest.raises(TypeError):
        hash(Formula(Graph(), 0))
