"""NeuronGraph: Adam where nothing is learned, blind to scale and to the order of neurons, whole in every executor."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import steepest as st
from steepest import optim
from steepest.core.errors import HyperparameterError
from steepest.graph import neural_graph, random_orders
from steepest.rules import Adam, NeuronGraph
from steepest.rules import neurons as room
from steepest.testing import Descent

torch.set_num_threads(1)

SHAPES: tuple[tuple[int, ...], ...] = ((5, 4), (6, 3, 2), (4, 3, 3, 3), (7,), ())


def draw(shape: tuple[int, ...], n: int = 12, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    make = torch.Generator().manual_seed(seed)
    start, *grads = torch.randn(n + 1, *shape, generator=make, dtype=torch.float64)
    return start, grads


def walk(rule: NeuronGraph, p: Tensor, grads: list[Tensor], lr: float = 0.1) -> list[Tensor]:
    """The directions of a few steps."""
    s, found = rule.init(p), []
    for t, g in enumerate(grads, start=1):
        u, s = rule.update(g, s, p, rule.scalars(t))
        p = p - lr * u
        found.append(u)
    return found


@pytest.fixture(scope="module")
def stirred(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights all of which matter, whatever has been learned."""
    make = torch.Generator().manual_seed(3)
    numbers = {name: torch.randn(room.count(name == "nodes"), generator=make).tolist() for name in ("nodes", "edges")}
    path = tmp_path_factory.mktemp("weights") / "stirred.json"
    path.write_text(json.dumps(numbers))
    return str(path)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("nodes", [True, False])
def test_untrained_it_is_adam(shape: tuple[int, ...], nodes: bool) -> None:
    p, grads = draw(shape)
    adam, s = Adam(eps=0.0), Adam().init(p)
    ours = walk(NeuronGraph(weights="untrained", eps=0.0, nodes=nodes), p, grads)
    for t, (g, u) in enumerate(zip(grads, ours, strict=True), start=1):
        a, s = adam.update(g, s, p, adam.scalars(t))
        torch.testing.assert_close(u, a)


def test_vectors_get_adams_step_however_it_is_trained(stirred: str) -> None:
    p, grads = draw((9,))
    for a, b in zip(
        walk(NeuronGraph(weights=stirred), p, grads), walk(NeuronGraph(weights="untrained"), p, grads), strict=True
    ):
        assert torch.equal(a, b)


def test_a_step_is_as_long_as_adams(stirred: str) -> None:
    p, grads = draw((6, 5))
    ours = walk(NeuronGraph(weights=stirred), p, grads, lr=0.0)
    adams = walk(NeuronGraph(weights="untrained"), p, grads, lr=0.0)
    for u, a in zip(ours, adams, strict=True):
        torch.testing.assert_close(u.norm(), a.norm())
        assert F.cosine_similarity(u.flatten(), a.flatten(), 0) < 0.99


@pytest.mark.parametrize("nodes", [True, False])
@pytest.mark.parametrize(("gradients", "weights"), [(2.0**40, 1.0), (2.0**-40, 1.0), (3e5, 1e-4), (1e-7, 1e6)])
def test_no_scale_is_seen(stirred: str, nodes: bool, gradients: float, weights: float) -> None:
    p, grads = draw((6, 5))
    ours = walk(NeuronGraph(nodes=nodes, weights=stirred), p, grads, lr=0.1)
    rescaled = walk(
        NeuronGraph(nodes=nodes, weights=stirred), weights * p, [gradients * g for g in grads], lr=weights * 0.1
    )
    for a, b in zip(ours, rescaled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3), (6, 5, 2, 2)], ids=str)
def test_the_order_of_neurons_does_not_matter(stirred: str, shape: tuple[int, ...]) -> None:
    p, grads = draw(shape)
    make = torch.Generator().manual_seed(1)
    rows, columns = torch.randperm(shape[0], generator=make), torch.randperm(shape[1], generator=make)

    def moved(x: Tensor) -> Tensor:
        return x[rows][:, columns]

    ours, theirs = (
        walk(NeuronGraph(weights=stirred), p, grads),
        walk(NeuronGraph(weights=stirred), moved(p), [moved(g) for g in grads]),
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(moved(a), b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("nodes", [True, False])
def test_a_weight_with_all_its_gradients_turned_takes_the_turned_step(stirred: str, nodes: bool) -> None:
    p, grads = draw((6, 5))
    sign = torch.randn(6, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64).sign()
    ours = walk(NeuronGraph(nodes=nodes, weights=stirred), p, grads)
    theirs = walk(NeuronGraph(nodes=nodes, weights=stirred), sign * p, [sign * g for g in grads])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(sign * a, b, rtol=1e-11, atol=1e-12)


class Small(nn.Module):
    """A convolution, a norm, two matrices with the same weight, a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.first, self.second, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.third = nn.Linear(8, 8, bias=False)
        self.third.weight = self.second.weight

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.conv(x))).mean((2, 3))
        h = torch.tanh(self.third(torch.tanh(self.second(F.relu(self.first(h))))))
        return self.scale * self.out(h)


def small() -> Small:
    torch.manual_seed(0)
    return Small().double()


def trained(model: nn.Module, steps: int = 5, strategy: str = "neuron_graph(lr=0.01)") -> Any:
    make = torch.Generator().manual_seed(5)
    optimizer = st.parse(strategy).optimizer(model)
    for _ in range(steps):
        descend(model, optimizer, make)
    return optimizer


def descend(model: nn.Module, optimizer: Any, make: torch.Generator) -> None:
    x = torch.randn(8, 1, 6, 6, generator=make, dtype=torch.float64)
    optimizer.zero_grad()
    F.cross_entropy(model(x), torch.arange(8) % 3).backward()
    optimizer.step()


def test_a_permuted_network_stays_the_permuted_network(stirred: str) -> None:
    model = small()
    graph = neural_graph(model, torch.zeros(2, 1, 6, 6, dtype=torch.float64))
    order = random_orders(graph, seed=2)
    other = small()
    other.load_state_dict(graph.permuted(model.state_dict(), order))
    strategy = f"neuron_graph(lr=0.01, weights={stirred!r})"
    trained(model, strategy=strategy)
    trained(other, strategy=strategy)
    expected = graph.permuted(model.state_dict(), order)
    assert not torch.equal(expected["first.weight"], model.state_dict()["first.weight"])
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-11)


def test_the_same_again_bit_for_bit() -> None:
    a, b = small(), small()
    trained(a)
    trained(b)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_a_resumed_run_is_the_run_bit_for_bit() -> None:
    model = small()
    optimizer = trained(model)
    kept = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    other = small()
    again = st.parse("neuron_graph(lr=0.01)").optimizer(other)
    other.load_state_dict(kept[0])
    again.load_state_dict(kept[1])
    for m, o in ((model, optimizer), (other, again)):
        make = torch.Generator().manual_seed(6)
        for _ in range(3):
            descend(m, o, make)
    assert all(torch.equal(x, y) for x, y in zip(model.parameters(), other.parameters(), strict=True))


def test_zero_gradients_move_nothing_and_dead_weights_stay(stirred: str) -> None:
    p, grads = draw((5, 4))
    assert not any(u.any() for u in walk(NeuronGraph(weights=stirred), p, [torch.zeros_like(p)] * 3))
    for g in grads:
        g[:, 2] = 0.0
    for u in walk(NeuronGraph(weights=stirred), p, grads):
        assert not u[:, 2].any()
        assert u[:, 1].all()


def test_tiny_gradients_in_float32_are_finite(stirred: str) -> None:
    p, grads = draw((5, 4))
    for scale in (1e-18, 1e-22, 1e-30, 1e15):
        assert all(
            torch.isfinite(u).all()
            for u in walk(NeuronGraph(weights=stirred), p.float(), [(scale * g).float() for g in grads])
        )


@pytest.mark.parametrize("nodes", [True, False])
def test_blocks_of_rows_change_nothing(stirred: str, nodes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    p, grads = draw((7, 4, 2))
    whole = walk(NeuronGraph(nodes=nodes, weights=stirred), p, grads)
    monkeypatch.setattr(room, "BLOCK", 17)
    for a, b in zip(whole, walk(NeuronGraph(nodes=nodes, weights=stirred), p, grads), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_only_nodes_tell_a_neuron_from_its_twin(stirred: str) -> None:
    """Two entries alike in all their own numbers and in the sizes of row and column; one row is restless."""
    p = torch.ones(2, 2, dtype=torch.float64)
    grads = [torch.tensor([[1.0, 1.0], [1.0, (-1.0) ** t]], dtype=torch.float64) for t in range(4)]
    edges, nodes = (walk(NeuronGraph(nodes=nodes, weights=stirred), p, grads, lr=0.0)[-1] for nodes in (False, True))
    torch.testing.assert_close(edges[0, 0], edges[1, 0])
    assert abs(nodes[0, 0] - nodes[1, 0]) > 0.01


def test_the_drop_in_and_the_strategy_are_one() -> None:
    a, b = small(), small()
    trained(a, strategy="neuron_graph(lr=0.01, weight_decay=0.0)")
    make = torch.Generator().manual_seed(5)
    optimizer = optim.NeuronGraph(b.parameters(), lr=0.01, weight_decay=0.0)
    for _ in range(5):
        descend(b, optimizer, make)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(HyperparameterError, match="beta2"):
        st.neuron_graph(beta2=1.0)
    with pytest.raises(HyperparameterError, match="eps"):
        st.neuron_graph(eps=-1.0)
    with pytest.raises(HyperparameterError, match=r"'trained', 'untrained' or a file .*'nothing.json'"):
        st.neuron_graph(weights="nothing.json")


def test_a_file_of_the_wrong_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.json").write_text('{"nodes": [1.0]}')
    with pytest.raises(HyperparameterError, match="must hold 199"):
        st.neuron_graph(weights=str(tmp_path / "short.json"))


def test_the_network_kept_beside_the_rule_has_the_right_size() -> None:
    for nodes in (True, False):
        flat = room.kept(nodes=nodes)
        assert len(flat) == room.count(nodes) and torch.isfinite(flat).all()
        parts = room.unflatten(flat, nodes)
        assert torch.equal(torch.cat([p.flatten() for p in parts.values()]), flat)


def test_one_tensor_alone_is_one_of_a_stack(stirred: str) -> None:
    p, grads = draw((3, 5, 4))
    rule = NeuronGraph(weights=stirred)
    s = [rule.init(x) for x in p]
    k = rule.scalars(1)
    together, _ = rule.stacked(grads[0], rule.State(*map(torch.stack, zip(*s, strict=True))), p, k)
    for i in range(3):
        torch.testing.assert_close(together[i], rule.update(grads[0][i], s[i], p[i], k)[0])


def test_descent_runs_the_assembly() -> None:
    p, grads = draw((4, 3))
    walker = Descent(st.rules.neuron_graph(lr=0.1).build(), p)
    for g in grads:
        walker.step(g)
    assert torch.isfinite(walker.p).all() and not torch.equal(walker.p, p)
