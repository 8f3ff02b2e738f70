"""Robust rules against the definitions in their papers, attackers, and what is rejected by name."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from federated_problems import after, blobs
from torch import Tensor

from steepest.federated import Federation, iid
from steepest.federated.attacks import as_attack, attacks
from steepest.federated.errors import FederationError
from steepest.federated.inbox import sort
from steepest.federated.robust import Memory, aggregates, as_aggregate, distances

X = torch.randn(11, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
P = torch.full((11,), 1 / 11, dtype=torch.float64)
ROBUST = ["median", "trimmed_mean", "krum", "multi_krum", "bulyan(faulty=2)", "rfa", "centered_clip", "norm_bound"]


def of(rule: str, x: Tensor = X, p: Tensor | None = None, memory: Memory | None = None) -> Tensor:
    weights = torch.full((len(x),), 1 / len(x), dtype=torch.float64) if p is None else p
    return as_aggregate(rule)(x, weights, memory or Memory())


def krum_by_hand(x: Tensor, f: int, left: list[int]) -> int:
    scores = {}
    for i in left:
        away = sorted(float((x[i] - x[j]).square().sum()) for j in left if j != i)
        scores[i] = sum(away[: max(1, len(left) - f - 2)])
    return min(left, key=lambda i: scores[i])


def test_median_and_trimmed_mean_are_those_of_numpy() -> None:
    assert np.allclose(of("median"), np.median(X, axis=0))
    assert np.allclose(of("median", X[:10]), np.median(X[:10], axis=0))
    assert np.allclose(of("trimmed_mean(faulty=3)"), np.sort(X.numpy(), axis=0)[3:8].mean(0))


def test_krum_chooses_as_its_definition() -> None:
    for f in (0, 1, 3, 4):
        assert torch.equal(of(f"krum(faulty={f})"), X[krum_by_hand(X, f, list(range(11)))])
    rule: Any = as_aggregate("multi_krum(faulty=3)")
    assert len(rule.choose(X)) == 8


def test_bulyan_is_its_definition() -> None:
    f, left, chosen = 2, list(range(11)), []
    for _ in range(11 - 2 * f):
        chosen.append(krum_by_hand(X, f, left))
        left.remove(chosen[-1])
    y = X[chosen].numpy()
    middle = np.median(y, axis=0)
    want = [np.mean(sorted(y[:, d], key=lambda v, d=d: abs(v - middle[d]))[: 11 - 4 * f]) for d in range(7)]
    assert np.allclose(of("bulyan(faulty=2)"), want)


def test_rfa_is_where_the_sum_of_distances_is_smallest() -> None:
    v = of("rfa(steps=500)")
    pull = ((X - v) / (X - v).norm(dim=1, keepdim=True)).mean(0)
    assert float(pull.norm()) < 1e-8  # the gradient of the mean distance


def test_centered_clipping_is_its_formula_and_goes_on_from_the_last_round() -> None:
    memory, tau, v = Memory(), 1.5, torch.zeros(7, dtype=torch.float64)
    for _ in range(2):
        for _ in range(3):
            v = v + sum((x - v) * min(1.0, tau / float((x - v).norm())) for x in X) / 11
        assert torch.allclose(of("centered_clip(tau=1.5)", memory=memory), v)


def test_norms_are_bounded() -> None:
    long = torch.cat([X[:10], 1e6 * X[10:]])
    assert float(of("norm_bound(bound=0.5)", long).norm()) <= 0.5
    assert torch.allclose(of("norm_bound(bound=100)"), X.mean(0))


def test_buckets_of_one_change_nothing_and_all_in_one_is_the_mean() -> None:
    order = Memory()
    assert torch.allclose(of("bucketing(of=median, s=1)", memory=order), of("median"))
    assert torch.allclose(of("bucketing(of=median, s=11)", memory=order), X.mean(0))


@pytest.mark.parametrize("rule", sorted(aggregates()))
def test_the_order_of_clients_does_not_matter_and_moving_all_moves_the_result(rule: str) -> None:
    if rule != "bucketing":  # which draws
        order = torch.randperm(11, generator=torch.Generator().manual_seed(1))
        text = "bulyan(faulty=2)" if rule == "bulyan" else rule
        if rule != "bulyan":  # whose last choices are between two that are each other's nearest
            assert torch.allclose(of(text), of(text, X[order]), atol=1e-12)
        if rule not in ("centered_clip", "norm_bound"):  # which are about lengths
            assert torch.allclose(of(text) + 5, of(text, X + 5), atol=1e-5 if rule == "rfa" else 1e-9)


@pytest.mark.parametrize("rule", ROBUST)
@pytest.mark.parametrize("size", [1e3, 1e9])
def test_two_of_eleven_cannot_carry_it_away(rule: str, size: float) -> None:
    bad = torch.cat([X[:9], torch.full((2, 7), size, dtype=torch.float64)])
    honest = float(X[:9].norm(dim=1).max())
    assert float(of(rule, bad).norm()) < 3 * honest
    assert float(of("mean", bad).norm()) > 10 * honest


def test_krum_on_tiny_differences_of_large_weights() -> None:
    """Where distances as |x|^2 + |y|^2 - 2xy in float32 on raw weights select attackers; ours are of deltas."""
    chosen_ours = chosen_theirs = 0
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        w = torch.randn(100_000, generator=g)
        deltas = 1e-5 * torch.randn(10, 100_000, generator=g)
        deltas[:3] *= 3  # attackers
        raw = w + deltas
        gram = raw @ raw.T
        theirs = (gram.diagonal()[:, None] + gram.diagonal() - 2 * gram).fill_diagonal_(torch.inf)
        near = theirs.topk(10 - 3 - 2, largest=False)[0].sum(1)
        chosen_theirs += int(near.argmin()) < 3
        rule: Any = as_aggregate("krum(faulty=3)")
        chosen_ours += int(rule.choose(deltas.double())[0]) < 3
    assert chosen_ours == 0
    assert chosen_theirs > 0
    assert bool((distances(X) >= 0).all())


def test_too_few_updates_is_an_error_that_says_how_many() -> None:
    with pytest.raises(FederationError, match=r"krum\(faulty=5\): with 5 false needs at least 13 updates, and 11 came"):
        of("krum(faulty=5)")


# ------------------------------------------------------------------------------------------------------ attackers


def test_attackers_send_what_their_papers_say() -> None:
    bad = torch.arange(11) < 2
    own = X[~bad]
    g = torch.Generator()

    def lie(text: str) -> Any:
        return as_attack(text).lie(X, bad, g)  # type: ignore[union-attr]

    for text in attacks():
        found = lie(text)
        assert all(torch.equal(found[i], X[i]) for i in range(2, 11)), text
    assert torch.equal(lie("sign_flip")[:2], -X[:2])
    assert torch.equal(lie("scaled(scale=7)")[:2], 7 * X[:2])
    assert torch.allclose(lie("ipm(scale=0.5)")[0], -0.5 * own.mean(0))
    assert torch.allclose(lie("alie(z=1.5)")[0], own.mean(0) - 1.5 * own.std(0, correction=0))
    assert float(lie("gaussian")[0].norm()) == pytest.approx(float(own.norm(dim=1).mean()), rel=1)
    assert as_attack("label_flip").labels(torch.tensor([0, 9]), 10).tolist() == [9, 0]  # type: ignore[union-attr]


def test_liars_are_a_share_of_all_clients_drawn_by_the_seed() -> None:
    attack = as_attack("sign_flip:0.25")
    assert attack is not None
    assert len(attack.liars(40, 0)) == 10 and attack.liars(40, 0) == attack.liars(40, 0) != attack.liars(40, 1)


@pytest.mark.parametrize(("attack", "reason"), [("nan", "not finite in 1 of"), ("wrong_shape", "where the model has")])
def test_malformed_updates_are_rejected_by_name_and_never_averaged(attack: str, reason: str) -> None:
    task, clients = blobs()
    made = Federation(task, clients, "fedavg", attack=f"{attack}:0.3")
    run = made.run(2)
    assert run.status == "finished" and run.result["rejected"] == 2 * len(run.result["liars"]) == 4
    said = run.metrics("round")[0]["rejected"]
    assert [r["client"] for r in said] == run.result["liars"] and all(reason in r["reason"] for r in said)
    honest = [c for c in range(8) if c not in run.result["liars"]]
    sizes = torch.tensor(clients.sizes, dtype=torch.float64)
    assert len(honest) == 6 and float(sizes[honest].sum()) < float(sizes.sum())


def test_the_inbox_names_everything_that_is_wrong() -> None:
    good = torch.zeros(3)
    sent: list[Any] = [
        good,
        good,
        torch.zeros(4),
        torch.tensor([0.0, torch.nan, 1]),
        "text",
        good,
        torch.zeros(3).bool(),
    ]
    places, sound, rejected = sort([0, 0, 1, 2, 3, 9, 4], sent, 3, expected=range(5))
    assert places == [0] and sound.shape == (1, 3) and sound.dtype == torch.float64
    assert [str(r) for r in map(repr, rejected)] == [
        "client 0: sent a second update; the first one counts",
        "client 1: shape (4,) where the model has (3,)",
        "client 2: not finite in 1 of 3 entries",
        "client 3: sent str, no vector of real numbers",
        "client 9: was not asked in this round",
        "client 4: sent Tensor, no vector of real numbers",
    ]
    assert sort([1], [torch.full((3,), torch.inf)], 3)[0] == []


def test_a_round_in_which_nothing_is_sound_changes_nothing() -> None:
    task, clients = blobs()
    made = after(task, clients, "fedavg(server=adam(lr=0.1))", 3, attack="nan:1.0")
    assert torch.equal(made.server.weights(), made.vectors.flat(task.build(0)).double())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:step .* was skipped")  # by clients of a model that liars have ruined
@pytest.mark.parametrize("attack", ["sign_flip(scale=5)", "gaussian(scale=100)", "ipm(scale=5)"])
def test_robust_rules_hold_accuracy_where_the_mean_falls(attack: str) -> None:
    """Within 5 points of the honest federation, a fifth of the clients lying."""

    def accuracy(**settings: str) -> float:
        clients = iid(20)
        made = Federation("digits-mlp", clients, "fedavg", batch_size=8, epochs=2, **settings)  # type: ignore[arg-type]
        error = made.run(30).validation["error"]
        return 0.0 if error is None else 1 - error  # None: the model is ruined

    best = accuracy()
    assert accuracy(attack=attack) < best - 0.1
    for rule in ("median", "multi_krum", "rfa", "centered_clip"):
        assert accuracy(aggregate=rule, attack=attack) > best - 0.05, rule


def test_every_pair_of_rules_and_attacks_has_a_text() -> None:
    for rule, attack in itertools.product(aggregates(), attacks()):
        assert str(as_aggregate(str(as_aggregate(rule)))) == str(as_aggregate(rule))
        assert str(as_attack(str(as_attack(attack)))) == str(as_attack(attack))
