"""Parts of a graph: with all neighbours nothing is lost, with some the sum is right on the mean, a seed fixes them."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import steepest as st
from steepest import tasks
from steepest.graph import Adjacency, GraphError, undirected
from steepest.graph.batches import Neighbours, RandomNodes, batched
from steepest.tasks.task import first_of_batch

pytest.importorskip("torch_geometric")
SMALL = "gcn-partition(nodes=600, layer='{}', batch='{}')"


def test_all_nodes_at_once_is_the_default() -> None:
    task = tasks.load("gcn-partition(nodes=600)")
    assert isinstance(task.train, tuple) and task.forward is first_of_batch
    assert task.steps_per_epoch == 1 and len(task.batches(0).batch(0)) == 2


@pytest.mark.parametrize("layer", ["gcn", "sage", "gat", "gin"])
def test_with_all_neighbours_a_part_says_what_the_whole_graph_says(layer: str) -> None:
    task = tasks.load(SMALL.format(layer, "neighbours:7:99,99"))
    model = task.build(0).eval()
    for step in range(3):
        rows, labels, part = batch = task.batches(1).batch(step)
        whole = part.nodes[rows]
        assert len(part.nodes) < 600
        torch.testing.assert_close(task.forward(model, batch), model(whole), rtol=1e-4, atol=1e-5)
        known = dict(zip(*(t.tolist() for t in tasks.load("gcn-partition(nodes=600)").train), strict=True))
        assert labels.tolist() == [known[node] for node in whole.tolist()]


def star() -> tuple[Tensor, Tensor]:
    """A node with four neighbours, which have each other too."""
    edges = undirected(torch.tensor([[0, 0, 0, 0, 1, 3], [1, 2, 3, 4, 2, 4]]))
    return edges, torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0])[:, None]


@pytest.mark.parametrize("form", ["sum", "mean", "symmetric"])
def test_the_sum_over_some_neighbours_is_right_on_the_mean(form: Any) -> None:
    """One of four: the four outcomes, equally often (three standard errors), whose mean is the whole graph's sum."""
    edges, x = star()
    draw = Neighbours(torch.tensor([0]), torch.tensor([0]), edges, 5, form, (1,))
    torch.manual_seed(0)
    seen: Counter[float] = Counter()
    for _ in range(400):
        rows, _, part = draw([0])
        seen[round(float(part.matrix()(x[part.nodes])[rows].squeeze()), 2)] += 1
    assert len(seen) == 4 and all(abs(n - 100) < 3 * (400 * 0.25 * 0.75) ** 0.5 for n in seen.values())
    whole = Adjacency(edges, 5, form)(x)[0].item()
    assert sum(seen) / 4 == pytest.approx(whole, rel=1e-4)


def test_no_node_gets_more_neighbours_than_were_asked_for() -> None:
    task = tasks.load(SMALL.format("sage", "neighbours:8:3,2"))
    for step in range(4):
        rows, _, part = task.batches(0).batch(step)
        degree = torch.bincount(part.edges[1], minlength=len(part.nodes))
        assert degree[rows].max() == 3 and degree.max() == 3
        rest = torch.ones(len(part.nodes), dtype=torch.bool)
        rest[rows] = False
        assert degree[rest].max() == 2
        assert len(set(map(tuple, part.edges.T.tolist()))) == part.edges.shape[1]


@pytest.mark.parametrize("layer", ["gcn", "sage", "gin"])
def test_random_parts_are_as_torch_geometrics_layers_see_them(layer: str) -> None:
    from torch_geometric.utils import subgraph

    from steepest.graph.models import convolution
    from steepest.graph.tasks.partition import planted

    task = tasks.load(SMALL.format(layer, "random_nodes:3"))
    rows, _, part = batch = task.batches(2).batch(0)
    x, edges, _ = planted(600)
    small = subgraph(part.nodes, edges, relabel_nodes=True, num_nodes=600)[0]
    model = task.build(0).eval()
    h = x[part.nodes]
    for i, (layer_, width) in enumerate(zip(model.layers, (32, 6), strict=True)):  # type: ignore[arg-type]
        peer = convolution(layer, h.shape[1], width, last=i == 1, normalize=True)  # type: ignore[arg-type]
        peer.load_state_dict(layer_.state_dict())
        h = peer(h.relu() if i else h, small)
    torch.testing.assert_close(task.forward(model, batch), h[rows], rtol=1e-4, atol=1e-5)


def test_a_batch_has_its_share_and_each_label_comes_once_an_epoch() -> None:
    task = tasks.load(SMALL.format("gcn", "random_nodes:3"))
    labelled = set(tasks.load("gcn-partition(nodes=600)").train[0].tolist())
    size = len(labelled) // 3
    assert task.steps_per_epoch == 3
    seen: list[int] = []
    for step in range(3):
        rows, _, part = task.batches(0).batch(step)
        seen += part.nodes[rows].tolist()
        assert len(rows) == size and len(part.nodes) == size + round((600 - len(labelled)) / 3)
    assert len(seen) == len(set(seen)) and set(seen) <= labelled


@pytest.mark.parametrize("batch", ["random_nodes:3", "neighbours:8:3,2"])
def test_a_seed_fixes_the_parts_wherever_a_run_is_stopped(batch: str, tmp_path: Path) -> None:
    spelling = SMALL.format("gcn", batch)
    options: dict[str, Any] = {"steps": 12, "eval_every": 3, "seed": 4, "progress": False, "monitor": "off"}

    def press(step: int, loss: float) -> None:
        if step == 7:
            signal.raise_signal(signal.SIGINT)

    whole = st.fit(spelling, "gnn", **options)
    run = st.fit(spelling, "gnn", out=tmp_path / "run", on_step=press, **options)
    assert run.status == "stopped"
    torch.randn(3)
    run = st.fit(spelling, "gnn", out=tmp_path / "run", resume=True, **options)
    assert run.metrics() == whole.metrics() and run.test == whole.test
    assert whole.metrics("train") != st.fit("gcn-partition(nodes=600)", "gnn", **options).metrics("train")


def test_what_fits_no_graph_is_refused() -> None:
    train, edges = (torch.arange(5), torch.zeros(5)), star()[0]
    for batch, said in (
        ("neighbors:2:1,1", r"Did you mean 'neighbours'"),
        ("neighbours:2:1", "does not fit a network of 2 layers"),
        ("neighbours:2:1,0", "'0' is no whole number of at least 1"),
        ("random_nodes:6", "makes 6 parts of 5 labelled nodes"),
        ("full:3", "does not fit"),
    ):
        with pytest.raises(GraphError, match=said):
            batched(batch, train, edges, 5, form="mean", depth=2)


def test_a_random_part_keeps_edges_within_it() -> None:
    edges, _ = star()
    draw = RandomNodes(torch.tensor([0, 3]), torch.tensor([0, 1]), edges, 5, None, 0.5)
    there = set(map(tuple, edges.T.tolist()))
    for seed in range(8):
        torch.manual_seed(seed)
        rows, labels, part = draw([1])
        kept = set(map(tuple, part.nodes[part.edges].T.tolist()))
        assert kept == {(a, b) for a, b in there if {a, b} <= set(part.nodes.tolist())}
        assert part.nodes[rows].tolist() == [3] and labels.tolist() == [1] and part.values is None
