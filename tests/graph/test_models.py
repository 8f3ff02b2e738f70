from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from steepest.graph import GraphNetwork, NodeNetwork, undirected
from steepest.graph.models import convolution, unpacked

pytest.importorskip("torch_geometric")
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GraphNorm, PairNorm

LAYERS = ["gcn", "sage", "gat", "gin"]


def edges(nodes: int = 30) -> torch.Tensor:
    return undirected(torch.randint(nodes, (2, 70), generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_network_computes_what_torch_geometrics_layers_compute_from_edges(layer: str) -> None:
    x, e = torch.randn(30, 8), edges()
    torch.manual_seed(0)
    model = NodeNetwork(x, e, 3, layer, hidden=16, depth=3)
    expected = x.requires_grad_()
    for i, own in enumerate(model.layers):
        peer = copy.deepcopy(own)
        if layer == "gcn":
            peer.normalize = peer.add_self_loops = True
        expected = peer(torch.relu(expected) if i else expected, e)
    model.eval()
    rows = torch.tensor([4, 29, 4])
    torch.testing.assert_close(model(rows), expected[rows])
    weights = list(model.parameters())
    ours = torch.autograd.grad(model(torch.arange(30)).square().sum(), weights)
    assert len(ours) == len(weights) and all(g.abs().sum() > 0 for g in ours)


@pytest.mark.parametrize("norm", ["batch", "pair", "graph"])
def test_norms_stand_between_convolutions(norm: str) -> None:
    x, e = torch.randn(30, 8), edges()
    model = NodeNetwork(x, e, 3, "gcn", depth=4, norm=norm)
    kinds = {"batch": nn.BatchNorm1d, "pair": PairNorm, "graph": GraphNorm}
    assert [type(n) for n in model.norms] == [kinds[norm]] * 3
    assert torch.isfinite(model(torch.arange(30))).all()


def test_pairnorm_keeps_nodes_apart_where_a_deep_network_makes_them_alike() -> None:
    """Zhao and Akoglu: the total distance between nodes is constant; without the norm it goes to zero."""
    x, e = torch.randn(30, 8), edges()

    def spread(norm: str) -> float:
        torch.manual_seed(1)
        model = NodeNetwork(x, e, 8, "gcn", hidden=8, depth=24, norm=norm).eval()
        out = model(torch.arange(30)).detach()
        return float((out - out.mean(0)).norm() / out.norm().clamp(min=1e-30))

    assert spread("pair") > 4 * spread("none")


def molecules(count: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    graphs = torch.zeros(count, 6, 6, dtype=torch.int64)
    for g in graphs:
        n = int(torch.randint(3, 7, (), generator=generator))
        for i in range(n):
            g[i, i] = torch.randint(1, 4, (), generator=generator)
            if i:
                j = int(torch.randint(i, (), generator=generator))
                g[i, j] = g[j, i] = 1
    return graphs


def test_graphs_are_unpacked_as_torch_geometric_batches_them() -> None:
    graphs = molecules()
    data = []
    for g in graphs:
        kinds = g.diagonal()
        n = int((kinds > 0).sum())
        a = g[:n, :n] - torch.diag(kinds[:n])
        data.append(Data(x=kinds[:n], edge_index=a.nonzero().T, num_nodes=n))
    batch = Batch.from_data_list(data)
    kind, graph, joined = unpacked(graphs)
    assert torch.equal(kind, batch.x) and torch.equal(graph, batch.batch) and torch.equal(joined, batch.edge_index)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("norm", ["none", "pair", "graph"])
def test_a_graphs_number_depends_on_it_alone_and_not_on_the_order_of_its_nodes(layer: str, norm: str) -> None:
    graphs = molecules()
    torch.manual_seed(0)
    model = GraphNetwork(4, layer, norm=norm).eval()
    whole = model(graphs)
    torch.testing.assert_close(torch.cat([model(g[None]) for g in graphs]), whole, atol=1e-5, rtol=1e-4)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(2))
    turned = graphs[:, order][:, :, order]
    torch.testing.assert_close(model(turned), whole, atol=1e-5, rtol=1e-4)


def test_a_layers_width_is_as_asked_with_heads_or_without() -> None:
    for layer in LAYERS:
        assert convolution(layer, 8, 12)(torch.randn(30, 8), edges()).shape == (30, 12)
        assert convolution(layer, 8, 3, last=True)(torch.randn(30, 8), edges()).shape == (30, 3)
