"""Secure sums: exact for every way to lose clients, refused where messages do not fit, and blind to single updates."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
from typing import Any

import numpy as np
import pytest
import torch
from federated_problems import after, blobs
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats
from torch import nn

from steepest.federated import Federation
from steepest.federated.errors import FederationError
from steepest.federated.secure import Client, Scale, Secagg, SecureError, Server, as_secure, secure_sum
from steepest.federated.secure.graph import neighbours
from steepest.federated.secure.messages import Mailbox, Masked, Request, Revealed, Roster, Shares
from steepest.federated.secure.shamir import P, recovered, shared

pytest.importorskip("cryptography")
from steepest.federated.secure import crypto

SIZE = 50
STEPS = ("keys", "shares", "numbers", "reveal")


def numbers(clients: Any, bits: int = 32, size: int = SIZE) -> dict[int, Any]:
    random = np.random.default_rng(0)
    return {c: random.integers(0, 2**bits, size, dtype=np.uint64) for c in clients}


def plain(sent: dict[int, Any], there: list[int], bits: int = 32) -> Any:
    return sum(sent[c] for c in there) & np.uint64(2**bits - 1)


# --------------------------------------------------------------------------------------------------------------- parts


def test_the_modulus_of_shares_is_a_prime_above_all_secrets() -> None:
    assert P > 2**256
    for base in range(2, 40):  # Miller and Rabin
        odd, twos = P - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        x = pow(base, odd, P)
        assert x in (1, P - 1) or any((x := x * x % P) == P - 1 for _ in range(twos - 1))


@settings(max_examples=30)
@given(secret=some.binary(min_size=32, max_size=32), n=some.integers(1, 8), data=some.data())
def test_any_threshold_of_the_shares_gives_the_secret_and_one_less_gives_any(secret: bytes, n: int, data: Any) -> None:
    t = data.draw(some.integers(1, n))
    shares = shared(secret, range(1, n + 1), t)
    some_ = data.draw(some.permutations(sorted(shares)))[:t]
    assert recovered({p: shares[p] for p in some_}, t) == secret
    if t > 1:  # with a made-up last share they fit another secret just as well
        other = shared(bytes(32), [some_[-1]], 1)[some_[-1]]
        assert (
            recovered({**{p: shares[p] for p in some_[:-1]}, some_[-1]: other}, t) != secret
            or shares[some_[-1]] == other
        )
    with pytest.raises(ValueError, match="are not enough"):
        recovered({p: shares[p] for p in some_[:-1]}, t)


def test_masks_are_chacha20() -> None:
    """RFC 8439, appendix A.1, test vector 1."""
    first = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    assert crypto.stream(bytes(32), 8, 32).astype("<u4").tobytes() == first
    assert crypto.stream(bytes(32), 4, 62).tolist() == [v & (2**62 - 1) for v in np.frombuffer(first, "<u8").tolist()]


def test_keys_agree_and_sealed_bytes_stay_whole() -> None:
    a, b = secrets.token_bytes(32), secrets.token_bytes(32)
    key = crypto.agreed(a, crypto.pair(b), b"x")
    assert key == crypto.agreed(b, crypto.pair(a), b"x") != crypto.agreed(a, crypto.pair(b), b"y")
    data = crypto.sealed(key, b"share", b"1 to 2")
    assert crypto.opened(key, data, b"1 to 2") == b"share" and b"share" not in data
    for bad, about in ((data[:-1] + bytes([data[-1] ^ 1]), b"1 to 2"), (data, b"1 to 3")):
        with pytest.raises(SecureError, match="was changed on its way"):
            crypto.opened(key, bad, about)
    with pytest.raises(SecureError, match="no point of X25519"):
        crypto.agreed(a, bytes(32), b"x")


@settings(max_examples=60)
@given(
    bits=some.integers(12, 62), many=some.integers(1, 40), seed=some.integers(0, 9), edge=some.booleans(),
    reach=some.floats(1e-3, 1e3),
)  # fmt: skip
def test_sums_of_whole_numbers_never_wrap(bits: int, many: int, seed: int, edge: bool, reach: float) -> None:
    scale = Scale(bits, reach, many)
    x = np.random.default_rng(seed).uniform(-reach, reach, (many, 5))
    if edge:
        x = np.sign(x) * reach
        x[:] = x[0]
    total = np.zeros(5, dtype=np.uint64)
    for row in x:
        total = (total + scale.whole(row)) & scale.mask
    assert np.abs(scale.back(total) - x.sum(0)).max() <= many * scale.step / 2 + 1e-9 * reach * many
    inward = np.abs(scale.back(scale.whole(x[0], inwards=True)))
    assert (inward <= np.abs(x[0]) * (1 + 1e-15)).all()


def test_what_would_wrap_is_not_sent() -> None:
    for bad in (1.5, np.nan, np.inf):
        with pytest.raises(SecureError, match="would wrap around; it is not sent"):
            Scale(32, 1.0, 4).whole(np.array([0.0, bad]))
    with pytest.raises(SecureError, match="8 bits are too few for a sum of 200 clients"):
        Scale(8, 1.0, 200)


def test_neighbours_are_mutual_and_many_enough() -> None:
    for n, degree in ((5, 0), (30, 6), (31, 7), (150, 0)):
        near = neighbours(range(n), degree, b"round")
        assert all(c in near[j] and j != c for c, own in near.items() for j in own)
        assert {len(own) for own in near.values()} == {min(n - 1, 2 * -(-(degree or 100) // 2))}
    assert neighbours(range(30), 6, b"a") != neighbours(range(30), 6, b"b")


# ------------------------------------------------------------------------------------------------------------ the sum


@settings(max_examples=40, deadline=None)
@given(
    n=some.integers(3, 7), bits=some.sampled_from([16, 32, 50]), degree=some.sampled_from([0, 4]),
    lost=some.lists(some.sampled_from([*STEPS, None, None, None]), min_size=7, max_size=7),
)  # fmt: skip
def test_the_sum_is_exact_or_there_is_none(n: int, bits: int, degree: int, lost: list[str | None]) -> None:
    sent, gone = numbers(range(n), bits), {c: step for c, step in enumerate(lost[:n]) if step}
    done = secure_sum(range(n), sent, SIZE, Secagg(bits=bits, degree=degree), b"r", gone)
    there = [c for c in range(n) if gone.get(c) not in STEPS[:3]]
    if done.total is None:
        assert done.problem and "needed" in done.problem and gone
    else:
        assert done.there == there and np.array_equal(done.total, plain(sent, there, bits))


@pytest.mark.parametrize("step", STEPS)
def test_clients_may_be_lost_at_every_step(step: str) -> None:
    sent = numbers(range(10))
    done = secure_sum(range(10), sent, SIZE, Secagg(), b"r", {2: step, 7: step, 9: step})
    there = list(range(10)) if step == "reveal" else [0, 1, 3, 4, 5, 6, 8]
    assert done.problem is None and done.there == there and np.array_equal(done.total, plain(sent, there))


def test_at_all_steps_at_once_among_few_neighbours() -> None:
    sent = numbers(range(40))
    gone = {3: "keys", 11: "shares", 20: "numbers", 21: "numbers", 30: "reveal"}
    done = secure_sum(range(40), sent, SIZE, Secagg(degree=14), b"r", gone)
    there = [c for c in range(40) if c not in (3, 11, 20, 21)]
    assert done.problem is None and np.array_equal(done.total, plain(sent, there))
    whole = secure_sum(range(40), sent, SIZE, Secagg(), b"r")
    assert done.up < 0.6 * whole.up and not done.rejected


@pytest.mark.parametrize("step", STEPS)
def test_with_too_few_there_is_no_sum_and_it_says_so(step: str) -> None:
    done = secure_sum(range(5), numbers(range(5)), SIZE, Secagg(), b"r", dict.fromkeys((0, 2, 4), step))
    assert done.total is None and done.problem is not None and "needed" in done.problem


def masked(n: int, sent: dict[int, Any], plan: Secagg) -> dict[int, Any]:
    """What the server sees of each client."""
    server, people = conversation(n, plan, "numbers")
    return {c: people[c].mask(box, sent[c]).numbers for c, box in server.mailboxes_.items()}


def conversation(n: int, plan: Secagg, until: str) -> tuple[Any, dict[int, Client]]:
    """A sum under way, at a step."""
    server: Any = Server(range(n), SIZE, plan, b"r")
    people = {c: Client(c, plan, b"r") for c in range(n)}
    if until == "keys":
        return server, people
    for client in people.values():
        server.receive_keys(client.advertise())
    server.roster_ = server.roster()
    if until == "shares":
        return server, people
    for client in people.values():
        server.receive_shares(client.share(server.roster_))
    server.mailboxes_ = server.mailboxes()
    if until == "numbers":
        return server, people
    for c, client in people.items():
        server.receive_numbers(client.mask(server.mailboxes_[c], numbers(range(n))[c]))
    server.requests_ = server.requests()
    return server, people


def test_what_the_server_sees_of_one_client_looks_like_noise() -> None:
    """Uniform bytes whatever is under the mask, new in each sum, and nothing of the numbers in them."""
    global SIZE
    keep, SIZE = SIZE, 20_000
    try:
        views = []
        for value in (0, 1, 2**31):
            sent = {c: np.full(SIZE, value, dtype=np.uint64) for c in range(4)}
            views += list(masked(4, sent, Secagg()).values())
        for view in views:
            counts = np.bincount(np.frombuffer(view.tobytes(), np.uint8), minlength=256)
            assert stats.chisquare(counts).pvalue > 1e-5
        together = np.corrcoef(np.stack(views).astype(np.float64))
        assert np.abs(together - np.eye(len(views))).max() < 0.05
    finally:
        SIZE = keep


def test_any_of_two_inputs_may_be_under_what_the_server_sees() -> None:
    """The last client's mask is sought that another input would need: it exists, so the view decides nothing."""
    sent = numbers(range(4))
    other = {**sent, 0: sent[1], 1: sent[0]}
    assert np.array_equal(plain(sent, [0, 1, 2, 3]), plain(other, [0, 1, 2, 3]))
    for each in (sent, other):
        done = secure_sum(range(4), each, SIZE, Secagg(), b"r")
        assert np.array_equal(done.total, plain(sent, [0, 1, 2, 3]))


# --------------------------------------------------------------------------------------------------- what does not fit


def test_the_server_refuses_messages_that_do_not_fit() -> None:
    server, people = conversation(4, Secagg(), "keys")
    first = people[0].advertise()
    server.receive_keys(first)
    with pytest.raises(SecureError, match="client 0 sends keys twice"):
        server.receive_keys(first)
    with pytest.raises(SecureError, match="client 9 is not part of this sum"):
        server.receive_keys(dataclasses.replace(first, client=9))
    with pytest.raises(SecureError, match="client 1 sends keys that are none, or somebody else's"):
        server.receive_keys(dataclasses.replace(first, client=1))
    with pytest.raises(SecureError, match="client 1 sends shares while the sum is at keys"):
        server.receive_shares(Shares(1, b"", {}))
    with pytest.raises(SecureError, match="1 of 4 clients are left after keys, and 3 are needed"):
        server.roster()

    server, people = conversation(4, Secagg(), "shares")
    shares = people[0].share(server.roster_)
    with pytest.raises(SecureError, match="client 0 sends shares to others than its neighbours"):
        server.receive_shares(dataclasses.replace(shares, sealed={1: b""}))

    server, people = conversation(4, Secagg(bits=20), "numbers")
    for bad, said in (
        (np.zeros(SIZE + 1, np.uint32), "of another shape"),
        (np.zeros(SIZE), "of another shape or kind"),
        (np.full(SIZE, 2**20, np.uint32), "beyond 20 bits"),
    ):
        with pytest.raises(SecureError, match=said):
            server.receive_numbers(Masked(0, bad))

    server, people = conversation(4, Secagg(), "reveal")
    told = people[0].reveal(server.requests_[0])
    with pytest.raises(SecureError, match="client 0 reveals other shares than those it was asked for"):
        server.receive_revealed(Revealed(0, dict(itertools.islice(told.own.items(), 2)), told.keys))
    with pytest.raises(SecureError, match="reveals shares of another length"):
        server.receive_revealed(Revealed(0, dict.fromkeys(told.own, b""), told.keys))
    server.receive_revealed(told)
    with pytest.raises(SecureError, match="client 0 sends reveal twice"):
        server.receive_revealed(told)
    with pytest.raises(SecureError, match="1 shares of client 0 came back at the end, and 3 are needed"):
        server.sum()


def test_false_shares_are_found_before_they_make_a_false_sum() -> None:
    server, people = conversation(5, Secagg(), "reveal")
    for c, client in people.items():
        told = client.reveal(server.requests_[c])
        if c == 2:
            told = Revealed(2, {j: bytes(33) for j in told.own}, told.keys)
        server.receive_revealed(told)
    with pytest.raises(SecureError, match="the shares of client 0's own mask do not fit what it announced"):
        server.sum()


def test_a_client_refuses_what_would_lay_it_open() -> None:
    server, people = conversation(4, Secagg(), "shares")
    roster = server.roster_
    with pytest.raises(SecureError, match="client 0 is not in the roster with its own keys"):
        people[0].share(Roster({**roster.keys, 0: dataclasses.replace(roster.keys[1], client=0)}))
    with pytest.raises(SecureError, match="client 0 sees one key twice"):
        people[0].share(Roster({**roster.keys, 2: dataclasses.replace(roster.keys[1], client=2)}))
    with pytest.raises(SecureError, match="client 0 is asked for reveal while it is at shares"):
        people[0].reveal(Request([1], []))

    server, people = conversation(5, Secagg(), "numbers")
    box, sent = server.mailboxes_[0], numbers(range(5))[0]
    swapped = dict(box.sealed)
    swapped[1], swapped[2] = swapped[2], swapped[1]
    with pytest.raises(SecureError, match="was changed on its way, or is meant for somebody else"):
        people[0].mask(Mailbox(swapped), sent)
    with pytest.raises(SecureError, match="shares from clients that are no neighbours"):
        people[0].mask(Mailbox({**box.sealed, 7: b""}), sent)
    with pytest.raises(SecureError, match="client 0 has 1 neighbours left, and 2 are needed"):
        people[0].mask(Mailbox({1: box.sealed[1]}), sent)
    people[0].mask(box, sent)
    with pytest.raises(SecureError, match="client 0 is asked for numbers while it is at reveal"):
        people[0].mask(box, sent)
    with pytest.raises(SecureError, match="client 0 is asked for both secrets of"):
        people[0].reveal(Request([1, 2, 3, 4], [4]))
    with pytest.raises(SecureError, match="asked about others than the neighbours"):
        people[0].reveal(Request([1, 2, 3], []))
    with pytest.raises(SecureError, match="client 0 sees 1 neighbours that stayed, and 2 are needed"):
        people[0].reveal(Request([1], [2, 3, 4]))
    people[0].reveal(Request([1, 2], [3, 4]))
    with pytest.raises(SecureError, match="client 0 is asked for reveal while it is at done"):
        people[0].reveal(Request([3, 4], [1, 2]))


# ---------------------------------------------------------------------------------------------------------- federations


@pytest.mark.parametrize("text", ["fedavg", "fedavg(weighting='equal', server=adam(lr=0.1))", "fedprox(mu=0.5)"])
def test_a_federation_comes_to_the_same_weights_in_secret(text: str) -> None:
    task, clients = blobs(dtype=torch.float64)
    more: dict[str, Any] = {"sample": 5, "absent": 0.1}
    open_, secret = (after(task, clients, text, 4, secure=way, **more) for way in (None, "secagg(bits=48)"))
    assert torch.allclose(open_.server.weights(), secret.server.weights(), rtol=0, atol=1e-9)
    assert secret.traffic.up > open_.traffic.up
    moved = (secret.server.weights() - secret.vectors.flat(task.build(0))).norm()
    assert float(moved) > 0.1


def test_compressed_by_a_linear_codec_what_is_summed_is_the_same() -> None:
    task, clients = blobs(dtype=torch.float64)
    for codec in ("randomk:0.3", "sketch:0.5", "float32"):
        open_, secret = (
            after(task, clients, "fedavg", 4, sample=5, compress=codec, secure=way) for way in (None, True)
        )
        assert torch.allclose(open_.server.weights(), secret.server.weights(), rtol=0, atol=1e-5), codec
        if codec == "randomk:0.3":
            assert torch.allclose(open_.stores["rest"].read(range(8)), secret.stores["rest"].read(range(8)), atol=1e-6)
    small = after(task, clients, "fedavg", 1, compress="randomk:0.1", secure=True)
    assert small.traffic.up < after(task, clients, "fedavg", 1, secure=True).traffic.up


def test_with_noise_on_the_sum_it_is_the_same_too() -> None:
    task, clients = blobs(dtype=torch.float64)
    text, plan = (
        "fedavg(weighting='equal')",
        "central(noise=0.5, clip=0.2, random='seed', quantile=0.5, sampling='fixed')",
    )
    open_, secret = (after(task, clients, text, 4, sample=5, privacy=plan, secure=w) for w in (None, "secagg(bits=52)"))
    assert torch.allclose(open_.server.weights(), secret.server.weights(), rtol=0, atol=1e-6)
    assert secret.guard is not None and 0.2 != secret.guard.bound == pytest.approx(open_.guard.bound, abs=1e-9)  # type: ignore[union-attr]


def test_rounds_without_a_sum_change_nothing_and_say_why() -> None:
    task, clients = blobs()
    run = Federation(task, clients, "fedavg", sample=4, absent=0.7, secure=True).run(8)
    lines = run.metrics("round")
    none = [line for line in lines if "no_sum" in line]
    assert run.status == "finished" and none and all("are needed" in line["no_sum"] for line in none)
    assert all("update_norm" not in line for line in none)
    assert any("update_norm" in line for line in lines)


def test_liars_can_send_only_what_fits() -> None:
    task, clients = blobs()
    for attack, said in (
        ("nan:0.3", "beyond reach"),
        ("wrong_shape:0.3", "of another shape"),
        ("scaled(share=0.3, scale=1e6)", "beyond reach"),
    ):
        run = Federation(task, clients, "fedavg", attack=attack, secure=True).run(2)
        found = run.metrics("round")[0]["rejected"]
        assert [r["client"] for r in found] == run.result["liars"] and all(said in r["reason"] for r in found), attack


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("scaffold", {}, "scaffold sends 1 vector beside each update"),
        ("fednova", {}, "fednova looks at single updates"),
        ("fedavg", {"aggregate": "krum"}, "aggregate='krum' has to"),
        ("fedavg", {"compress": "topk"}, "what topk makes of updates cannot be added up"),
        ("fedavg(weighting='equal')", {"privacy": "local(noise=1)"}, "makes each update safe to show"),
        ("fedavg(weighting='equal')", {"privacy": "eps=1", "compress": "sketch"}, "would make cut updates longer"),
        ("fedavg(weighting='equal')", {"privacy": "eps=1", "attack": "scaled"}, "clients cut their updates themselves"),
        ("fedavg", {"secure": "secag"}, "Did you mean 'secagg'"),
    ],
)
def test_what_needs_single_updates_is_refused_by_name(text: str, more: dict[str, Any], said: str) -> None:
    task, clients = blobs()
    with pytest.raises(FederationError, match=said):
        Federation(task, clients, text, **{"secure": True, **more})


def test_running_statistics_are_not_sent_in_the_open() -> None:
    task, clients = blobs(layers=lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)))
    with pytest.raises(FederationError, match="running statistics"):
        Federation(task, clients, "fedavg", secure=True)
    assert str(as_secure(str(Secagg(bits=40)))) == "secagg(bits=40)"
