"""Forecasts weight by weight: they turn and scale with the weights, and permuting neurons permutes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import steepest
from steepest.core.errors import HyperparameterError
from steepest.fit import fit
from steepest.graph.meta.families import TRAIN
from steepest.graph.meta.ways import GAPS, HORIZONS, drawn, examples, first, judged, trained, ways
from steepest.nowcasting import NETWORKS, Nowcaster
from steepest.nowcasting.network import ahead, features, kept

SHAPES = [(), (1,), (7,), (5, 3), (1, 4), (4, 3, 2), (3, 2, 3, 3)]


def snapshots(shape: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    make = torch.Generator().manual_seed(seed)
    return list(torch.randn(5, *shape, generator=make, dtype=torch.float64).cumsum(0))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_has_a_forecast_of_its_shape(shape: tuple[int, ...], network: str) -> None:
    xs = [x.float() for x in snapshots(shape)]
    found = ahead(network, xs, 2)
    assert found.shape == shape and found.dtype == torch.float64 and found.isfinite().all()
    assert not torch.equal(found, xs[-1].double())
    still = [xs[0]] * 5
    assert torch.equal(ahead(network, still, 2), still[-1].double())
    half = ahead(network, xs, 2, damping=0.5)
    torch.testing.assert_close(half - xs[-1].double(), 0.5 * (found - xs[-1].double()))


@pytest.mark.parametrize("network", NETWORKS)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-12, 1e12), horizon=st.sampled_from([1, 2, 5]))
def test_it_scales_with_the_weights_and_turns_with_their_signs(
    network: str, seed: int, scale: float, horizon: int
) -> None:
    xs = snapshots((5, 3), seed)
    move = ahead(network, xs, horizon) - xs[-1]
    signs = torch.randint(2, (5, 3), generator=torch.Generator().manual_seed(seed)).mul(2).sub(1).double()
    other = [scale * signs * x for x in xs]
    torch.testing.assert_close(
        ahead(network, other, horizon) - other[-1], scale * signs * move, rtol=1e-3, atol=1e-4 * scale
    )
    shifted = [x + 3.0 for x in xs]
    torch.testing.assert_close(ahead(network, shifted, horizon) - shifted[-1], move, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [(7,), (5, 3), (4, 3, 2)], ids=str)
def test_permuted_neurons_permute_it(shape: tuple[int, ...], network: str) -> None:
    xs = snapshots(shape)
    found = ahead(network, xs, 5)
    make = torch.Generator().manual_seed(3)
    for axis in range(min(2, len(shape))):
        order = torch.randperm(shape[axis], generator=make)
        other = ahead(network, [x.index_select(axis, order) for x in xs], 5)
        torch.testing.assert_close(other, found.index_select(axis, order), rtol=1e-5, atol=1e-6)


def test_neurons_hear_their_other_edges_and_scalars_do_not() -> None:
    xs = snapshots((4, 4))
    changed = [x.clone() for x in xs]
    changed[2][0, 1] += 0.5
    changed[1][0, 1] -= 0.5
    move = {n: (ahead(n, changed, 1) - ahead(n, xs, 1)).abs() for n in NETWORKS}
    q, other = (features(torch.stack(w).diff(dim=0).float()) for w in (xs, changed))
    q[..., -1] = other[..., -1] = 0.0
    assert torch.equal(q[1:], other[1:])  # products of other weights are as they were
    assert move["neurons"][0, 2] > 1e-3 and move["neurons"][2, 1] > 1e-3


def test_training_is_fixed_by_its_seed_and_lowers_the_error() -> None:
    """The first numbers are the line's; thirty updates are better, on ways that were trained on."""
    make = torch.Generator().manual_seed(0)
    data = [ways(TRAIN[0], make, n=2, steps=400)]
    assert all(torch.isfinite(x).all() for x in data[0]) and len(data[0][0]) == 81
    pool = examples(data, 6, make)
    a, b = (trained("scalar", pool, 60, seed=1) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a, trained("scalar", pool, 60, seed=2))
    told = judged({"scalar": first("scalar", make)}, pool)
    assert all(told["scalar"][h] == pytest.approx(told["line"][h], rel=1e-4) for h in {one.horizon for one in pool})
    after = judged({"scalar": a}, pool)
    assert sum(after["scalar"].values()) < sum(told["line"].values())
    for _ in range(50):
        gap, begin, horizon = drawn(make, 81)
        assert gap in GAPS and horizon in HORIZONS and begin + (4 + horizon) * gap < 81


def test_the_numbers_in_the_tree_are_finite_and_small() -> None:
    for network in NETWORKS:
        flat = kept(network)
        assert flat.isfinite().all() and flat.abs().max() < 20


# ----------------------------------------------------------------------------------------------------- in a nowcast


def test_a_nowcaster_goes_where_the_network_says() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cast = Nowcaster(optimizer, every=5, forecasts=("neurons",), horizons=(2,), damping=0.5)
    seen: list[list[Tensor]] = []
    look = None
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
        seen.append([p.detach().clone() for p in model.parameters()])
        before = cast.optimizer is optimizer
        look = cast.after(lambda i: -float((model.weight.detach() - seen[-1][0]).norm()) + 1e-3 * i)
    assert before and look is not None and look.accepted and look.forecast == "neurons 2"
    for p, *xs in zip(model.parameters(), *seen, strict=True):
        assert torch.equal(p, ahead("neurons", xs, 2, damping=0.5).float())


def test_in_a_strategy_and_its_text() -> None:
    text = "sgd(lr=0.01) | nowcast(every=10, forecasts=('scalar', 'neurons'))"
    assert str(steepest.parse(text)) == text
    run = fit("digits-mlp", text, steps=30, seed=0, progress=False)
    assert {line["forecast"].split()[0] for line in run.metrics("nowcast") if line["forecast"]} <= set(NETWORKS)
    assert run.metrics("nowcast")[0]["passes"] >= 7


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"forecasts": ("scalars",)}, "Did you mean 'scalar'"),
        ({"forecasts": ("scalar",), "snapshots": 4}, "5 snapshots"),
    ],
)
def test_bad_input(options: dict[str, Any], said: str) -> None:
    with pytest.raises(HyperparameterError, match=said):
        steepest.nowcast(**options)
