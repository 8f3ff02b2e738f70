from __future__ import annotations

import networkx
import pytest
import torch
from sklearn.neighbors import kneighbors_graph

from steepest import tasks
from steepest.tasks.digits import digits_in_order
from steepest.tasks.digits_graph import GraphNetwork, graph, graph_network, labelled, neighbours, normalised
from steepest.tasks.splits import split_of


def test_neighbours_are_those_of_scikit_learn() -> None:
    x = torch.rand(60, 5, generator=torch.Generator().manual_seed(0))
    peer = torch.from_numpy(kneighbors_graph(x.numpy(), 4).toarray()).float()
    assert torch.equal(neighbours(x, 4), torch.maximum(peer, peer.T))


def test_the_normalised_graph_is_that_of_kipf_and_welling() -> None:
    a = neighbours(torch.rand(40, 3, generator=torch.Generator().manual_seed(1)), 3)
    peer = networkx.normalized_laplacian_matrix(networkx.from_numpy_array((a + torch.eye(40)).numpy())).toarray()
    torch.testing.assert_close(normalised(a), torch.eye(40) - torch.from_numpy(peer).float())
    values = torch.linalg.eigvalsh(normalised(a).double())
    assert values.max().item() == pytest.approx(1, abs=1e-6) and values.min() > -1


def test_alike_digits_are_neighbours() -> None:
    x, y = digits_in_order()
    a = neighbours(x, 8)
    rows, columns = a.nonzero(as_tuple=True)
    assert (y[rows] == y[columns]).float().mean() > 0.9
    assert (a.sum(1) >= 8).all() and torch.equal(a, a.T)


def test_a_forward_pass_is_two_graph_convolutions() -> None:
    x, a = graph()
    model = graph_network().eval()
    assert isinstance(model, GraphNetwork)
    hidden = torch.relu(a @ x @ model.first.weight.T + model.first.bias)
    rows = torch.tensor([5, 1700, 0])
    expected = (a @ (hidden @ model.second.weight.T + model.second.bias))[rows]
    torch.testing.assert_close(model(rows), expected)


def test_a_tenth_of_the_training_digits_has_a_label() -> None:
    train, validation, test = labelled()
    assert {split_of(f"digits/{i}") for i in train[0].tolist()} == {"train"}
    assert len(train[0]) / 1098 == pytest.approx(0.1, abs=0.02)
    assert torch.bincount(train[1], minlength=10).min() >= 5
    _, y = digits_in_order()
    for rows, labels in (train, validation, test):
        assert torch.equal(y[rows], labels)


def test_the_graph_is_no_part_of_a_checkpoint_and_goes_where_the_model_goes() -> None:
    model = tasks.load("digits-graph").build(0)
    assert sorted(model.state_dict()) == ["first.bias", "first.weight", "second.bias", "second.weight"]
    assert all(buffer.dtype == torch.float64 for buffer in model.double().buffers())
