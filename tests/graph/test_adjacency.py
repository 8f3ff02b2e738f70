from __future__ import annotations

import copy
import pickle

import networkx
import pytest
import torch
from torch import Tensor, nn

from steepest.graph import Adjacency, GraphError, undirected
from steepest.graph.adjacency import Form

pytest.importorskip("torch_geometric")
from torch_geometric.nn import GCNConv, GINConv, SAGEConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

FORMS: list[Form] = ["sum", "mean", "symmetric"]


def graph(nodes: int = 40, seed: int = 0) -> Tensor:
    return undirected(torch.randint(nodes, (2, 90), generator=torch.Generator().manual_seed(seed)))


def dense(edges: Tensor, nodes: int, form: Form, weights: Tensor | None = None) -> Tensor:
    """The same matrix from its definition."""
    a = torch.zeros(nodes, nodes, dtype=torch.float64)
    a.index_put_(
        (edges[1], edges[0]), torch.ones(edges.shape[1]).double() if weights is None else weights, accumulate=True
    )
    if form == "sum":
        return a
    if form == "mean":
        return a / a.sum(1, keepdim=True).clamp(min=1e-300)
    a = a + torch.eye(nodes, dtype=torch.float64)
    root = a.sum(1).rsqrt()
    return root[:, None] * a * root


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("directed", [False, True])
def test_it_is_the_matrix_of_its_definition_forward_and_backward(form: Form, directed: bool) -> None:
    edges = graph()[:, ::3] if directed else graph()
    a = Adjacency(edges, 40, form).double()
    assert a.symmetric == (not directed and form != "mean")
    x = torch.randn(40, 5, dtype=torch.float64, requires_grad=True)
    exact = dense(edges, 40, form).float().double()  # kept in float32
    torch.testing.assert_close(a(x), exact @ x)
    (gradient,) = torch.autograd.grad((a(x) ** 3).sum(), x)
    (expected,) = torch.autograd.grad(((exact @ x) ** 3).sum(), x)
    torch.testing.assert_close(gradient, expected)
    assert torch.autograd.gradgradcheck(a, (x,))


def test_weights_and_several_edges_between_two_nodes_add_up() -> None:
    edges = torch.tensor([[0, 0, 1], [1, 1, 0]])
    weights = torch.tensor([1.0, 2.0, 5.0])
    for form in FORMS:
        made = Adjacency(edges, 2, form, weights).csr().to_dense()
        torch.testing.assert_close(made, dense(edges, 2, form, weights.double()).float())


def test_symmetric_is_the_normalised_laplacian_of_networkx() -> None:
    edges = graph()
    peer = networkx.from_edgelist(edges.T.tolist())
    peer.add_nodes_from(range(40))
    peer.add_edges_from((i, i) for i in range(40))
    # a loop counts twice in networkx's degrees: take the matrix, not the graph
    a = torch.from_numpy(networkx.to_numpy_array(peer, nodelist=range(40)))
    root = a.sum(1).rsqrt()
    torch.testing.assert_close(
        Adjacency(edges, 40).csr().to_dense().double(), root[:, None] * a * root, atol=1e-7, rtol=0
    )


def test_it_is_that_of_torch_geometric() -> None:
    edges, x = graph(), torch.randn(40, 6)
    index, weight = gcn_norm(edges, num_nodes=40)
    peer = torch.zeros(40, 40).index_put_((index[1], index[0]), weight)
    torch.testing.assert_close(Adjacency(edges, 40).csr().to_dense(), peer)
    for layer, form in ((SAGEConv(6, 4), "mean"), (GINConv(nn.Identity()), "sum")):
        summed = layer.propagate(edges, x=(x, x), size=None)
        torch.testing.assert_close(Adjacency(edges, 40, form)(x), summed)
    # and torch_geometric's layers take the matrix as it is
    layer = GCNConv(6, 4)
    taken = copy.deepcopy(layer)
    taken.normalize = False
    torch.testing.assert_close(taken(x, Adjacency(edges, 40).csr()), layer(x, edges))


def test_it_is_no_part_of_a_checkpoint_and_goes_where_the_model_goes() -> None:
    a = Adjacency(graph(), 40, "mean")
    assert not a.state_dict()
    x = torch.randn(40, 3)
    for other in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert torch.equal(other(x), a(x))
    assert a.double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("edges", "what"),
    [
        (torch.tensor([[0, 1]]), r"shape \(2, edges\): from, to; given \(1, 2\)"),
        (torch.tensor([[0.0], [1.0]]), "float32"),
        (torch.tensor([[0], [3]]), "nodes from 0 to 2; given 0 to 3"),
        (torch.tensor([[-1], [2]]), "given -1 to 2"),
    ],
)
def test_edges_that_make_no_graph_are_refused(edges: Tensor, what: str) -> None:
    with pytest.raises(GraphError, match=what):
        Adjacency(edges, 3)


def test_other_bad_input_is_refused() -> None:
    edges = torch.tensor([[0], [1]])
    with pytest.raises(GraphError, match=r"one number > 0 an edge, 1 here"):
        Adjacency(edges, 2, weights=torch.tensor([0.0]))
    with pytest.raises(GraphError, match="form is 'sum', 'mean' or 'symmetric'; given 'max'"):
        Adjacency(edges, 2, "max")  # type: ignore[arg-type]
