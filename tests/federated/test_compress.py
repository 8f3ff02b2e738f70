"""Codecs: what comes back, in how many bytes, unbiased where it is said, and nothing lost for good."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from federated_problems import after, blobs
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor

from steepest.federated import Federation
from steepest.federated.compress import as_codec, codecs, packed_places, unpacked_places

SHAPES = [(40, 30), (40,), (2, 3, 5), ()]
SIZE = 40 * 30 + 40 + 30 + 1
V = torch.randn(SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def round_trip(text: str, v: Tensor = V, key: int = 7) -> tuple[Tensor, int]:
    codec = as_codec(text)
    assert codec is not None
    message = codec.encode(v, key, SHAPES)
    assert isinstance(message, bytes)
    return codec.decode(message, key, SHAPES), len(message)


def test_numbers_as_they_are() -> None:
    back, size = round_trip("float32")
    assert torch.equal(back, V.float().double()) and size == 4 + 4 * SIZE


def test_topk_keeps_the_largest_and_costs_little_for_places() -> None:
    back, size = round_trip("topk:0.1")
    k = round(0.1 * SIZE)
    kept = back.nonzero().flatten()
    assert len(kept) == k and float(V[kept].abs().min()) >= float(V[back == 0].abs().max())
    assert torch.equal(back[kept], V[kept].float().double())
    assert size <= 4 + 5 + 4 * k + 1.1 * k
    assert torch.equal(round_trip("topk:1.0")[0], V.float().double())


def test_randomk_sends_no_places() -> None:
    back, size = round_trip("randomk:0.1")
    assert size == 4 + 4 * round(0.1 * SIZE) and len(back.nonzero()) == round(0.1 * SIZE)
    assert not torch.equal(back != 0, round_trip("randomk:0.1", key=8)[0] != 0)


@pytest.mark.parametrize("text", ["qsgd", "qsgd(levels=1, bucket=64)", "int8", "int8(bucket=100)"])
def test_rounding_is_unbiased(text: str) -> None:
    n = 300
    draws = torch.stack([round_trip(text, key=key)[0] for key in range(n)])
    step = float(
        (draws.max(0)[0] - draws.min(0)[0]).max()
    )  # between two levels: a coin with a sd of half of it at most
    assert float((draws.mean(0) - V).abs().max()) < 5 * step / 2 / n**0.5
    assert float((draws[0] - V).abs().max()) < 1.01 * step
    assert as_codec(text).unbiased  # type: ignore[union-attr]


def test_bytes_are_what_the_bits_come_to() -> None:
    assert round_trip("qsgd(levels=7, bucket=512)")[1] == 4 + 4 * 3 + -(-SIZE * 4 // 8)
    assert round_trip("int8")[1] == 4 + 4 * 3 + SIZE
    assert round_trip("sign")[1] == 4 + 4 * 4 + -(-SIZE // 8)
    assert round_trip("power_sgd:2")[1] == 4 + 4 * (2 * (40 + 30) + 40 + 2 * (2 + 15) * 0 + 30 + 1)


def test_sign_keeps_signs_and_mean_sizes() -> None:
    back, _ = round_trip("sign")
    assert torch.equal(back.sign(), V.sign())
    assert float(back[:1200].abs().mean()) == pytest.approx(float(V[:1200].abs().mean()), rel=1e-6)


def test_a_matrix_of_low_rank_comes_back_whole() -> None:
    g = torch.Generator().manual_seed(1)
    low = torch.randn(40, 2, generator=g, dtype=torch.float64) @ torch.randn(2, 30, generator=g, dtype=torch.float64)
    v = torch.cat([low.flatten(), V[1200:]])
    back, _ = round_trip("power_sgd:2", v)
    assert torch.allclose(back, v, atol=1e-5)
    one = (round_trip("power_sgd:1", v)[0] - v)[:1200].norm()
    assert 0.01 < float(one) < float(v[:1200].norm())


@pytest.mark.parametrize("text", ["topk:0.05", "randomk:0.05", "sign", "power_sgd"])
def test_what_forgets_loses_less_than_all(text: str) -> None:
    """A codec under error feedback must be a contraction."""
    back, _ = round_trip(text)
    assert float((back - V).norm()) < float(V.norm())
    assert not as_codec(text).unbiased  # type: ignore[union-attr]


@settings(max_examples=40)
@given(size=some.integers(1, 3000), seed=some.integers(0, 100), share=some.floats(0, 1))
def test_places_come_back(size: int, seed: int, share: float) -> None:
    places = np.flatnonzero(np.random.default_rng(seed).random(size) < share)
    if len(places):
        data = packed_places(places, size)
        found, end = unpacked_places(data + b"rest", size)
        assert np.array_equal(found, places) and end == len(data)
        assert len(data) <= 5 + -(-size // 8)


@pytest.mark.parametrize("text", sorted(codecs()))
def test_zeros_and_ones_survive(text: str) -> None:
    for v in (torch.zeros(SIZE, dtype=torch.float64), torch.full((SIZE,), 1e-30, dtype=torch.float64)):
        assert bool(round_trip(text, v)[0].isfinite().all())
    assert str(as_codec(str(as_codec(text)))) == str(as_codec(text))


def test_nothing_is_lost_for_good() -> None:
    """What a client sent so far and what it still owes is what it computed."""
    task, clients = blobs()
    made: Any = Federation(task, clients, "fedavg", compress="topk:0.05")
    from federated_problems import opened

    rounds = opened(made)
    owed = torch.zeros(8, rounds.vectors.size, dtype=torch.float64)
    send = rounds.up.send

    def watched(clients: Any, deltas: Tensor, turn: int, away: Any) -> Any:
        arrived, size = send(clients, deltas, turn, away)
        owed[clients] += deltas - arrived
        return arrived, size

    rounds.up.send = watched  # type: ignore[method-assign]
    for _ in range(5):
        rounds.round()
    assert torch.allclose(rounds.stores["rest"].read(range(8)), owed, atol=1e-12)
    assert float(owed.norm()) > 0


def test_an_old_rest_fades() -> None:
    task, clients = blobs()
    made = after(task, clients, "fedavg", 1, compress="topk:0.05", fade=0.5)
    rest = made.stores["rest"].read([0])
    arrived, _ = made.up.send([0], torch.zeros(1, made.vectors.size, dtype=torch.float64), 4, [4])
    left = made.stores["rest"].read([0]) + arrived
    assert torch.allclose(left, rest * 0.5**3, atol=1e-7)


def test_traffic_is_counted_both_ways() -> None:
    task, clients = blobs()
    plain = Federation(task, clients, "fedavg", sample=4).run(3).result
    D = task.parameters()
    assert plain["bytes_up"] == plain["bytes_down"] == 3 * 4 * (4 + 4 * D)
    scaffold = Federation(task, clients, "scaffold", sample=4).run(3).result
    assert scaffold["bytes_up"] == plain["bytes_up"] + 3 * 4 * 4 * D
    small = Federation(task, clients, "fedavg", sample=4, compress="sign", down="int8").run(3).result
    assert small["bytes_up"] < plain["bytes_up"] / 4 and small["bytes_down"] < plain["bytes_down"]


def test_what_the_server_sends_catches_up() -> None:
    task, clients = blobs()
    made = after(task, clients, "fedavg", 40, down="topk:0.2")
    still = float((made.down.known - made.server.weights()).norm())
    moved = float((made.server.weights() - made.vectors.flat(task.build(0)).double()).norm())
    assert still < 0.2 * moved
