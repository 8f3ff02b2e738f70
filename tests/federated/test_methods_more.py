"""Oracles of the methods that do more than one thing in a round: by hand, on quadratics and small classifiers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from federated_problems import after, blobs, opened, point, quadratic
from torch import Tensor, nn

from steepest.federated import Federation
from steepest.federated.errors import FederationError
from steepest.federated.methods import (
    Aligned,
    Apfl,
    FedAvg,
    FedDecorr,
    FedPer,
    FedRep,
    FineTune,
    Mime,
    MimeLite,
    Moon,
    PFedMe,
)

A, B, LR, K = np.array([1.0, 3.0, 0.5, 2.0]), np.array([-1.0, 2.0, 4.0, 0.5]), 0.1, 5
BEST = float((A * B).sum() / A.sum())
SGD = f"sgd(lr={LR})"
EQUAL = FedAvg(client=SGD, weighting="equal")


def settled(method: Any, rounds: int = 50, **more: Any) -> float:
    task, clients = quadratic(A, B)
    return point(after(task, clients, method, rounds, **{"steps": K, **more}))


def trail(method: Any, rounds: int = 6, **more: Any) -> list[float]:
    task, clients = quadratic(A, B)
    made = opened(Federation(task, clients, method, **{"steps": K, **more}), rounds)
    found = []
    for _ in range(rounds):
        made.round()
        found.append(point(made))
    return found


def ends(method: Any, rounds: int = 3, **more: Any) -> Tensor:
    task, clients = blobs(dtype=torch.float64)
    return after(task, clients, method, rounds, **more).server.weights()


# ----------------------------------------------------------------------------------------------------------------- Mime


def test_mime_settles_where_the_sum_is_smallest() -> None:
    assert settled(Mime(client=SGD, rule="sgd"), rounds=40) == pytest.approx(BEST, abs=1e-9)


def test_mime_lite_of_sgd_is_fedavg_with_equal_weights() -> None:
    assert settled(MimeLite(client=SGD, rule="sgd"), 5) == pytest.approx(settled(EQUAL, 5), abs=1e-12)
    assert torch.allclose(
        ends(MimeLite(rule="sgd")), ends(FedAvg(weighting="equal")), rtol=0, atol=1e-13
    )  # its clients add up in the same order


def mimed(rule: str, beta: float = 0.9, beta2: float = 0.99, eps: float = 1e-3, lite: bool = False) -> list[float]:
    """Algorithm 1 on the quadratics."""
    x, m, v, found = 3.0, 0.0, None, []
    for _ in range(6):
        c = (A * (x - B)).mean()
        v = c * c if v is None else v
        y = np.full(4, x)
        for _ in range(K):
            g = A * (y - B) if lite else A * (y - B) - A * (x - B) + c
            if rule in ("momentum", "adam"):
                g = (1 - beta) * g + beta * m
            y = y - LR * (g / (np.sqrt(v) + eps) if rule in ("adam", "adagrad") else g)
        m = beta * m + (1 - beta) * c
        v = beta2 * v + (1 - beta2) * c * c if rule == "adam" else v + c * c
        x = y.mean()
        found.append(x)
    return found


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam", "adagrad"])
@pytest.mark.parametrize("lite", [False, True])
def test_mime_is_its_algorithm(rule: Any, lite: bool) -> None:
    method = MimeLite if lite else Mime
    assert trail(method(client=SGD, rule=rule)) == pytest.approx(mimed(rule, lite=lite), rel=1e-12)


def test_mime_with_one_step_on_all_rows_is_the_optimizer_itself() -> None:
    task, clients = blobs(dtype=torch.float64, clients=6)
    even = type(clients)([np.arange(i * 20, i * 20 + 20) for i in range(6)], 120)
    made = after(task, even, Mime(client="sgd(lr=0.3)", beta=0.5), 4, batch_size=1000)
    model = task.build(0)
    m = torch.zeros_like(made.server.weights())
    for _ in range(4):
        model.zero_grad()
        task.loss(model(task.train[0]), task.train).backward()
        g = torch.cat([p.grad.flatten() for p in model.parameters()])
        d = 0.5 * g + 0.5 * m
        m = 0.5 * m + 0.5 * g
        with torch.no_grad():
            for p, part in zip(model.parameters(), d.split([p.numel() for p in model.parameters()]), strict=True):
                p -= 0.3 * part.view_as(p)
    w = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert torch.allclose(made.server.weights(), w, rtol=0, atol=1e-13)


# -------------------------------------------------------------------------------------------------------- own models


def test_pfedme_is_its_algorithm_and_its_inner_problem_is_solved() -> None:
    lam, eta, beta, rounds = 2.0, 0.2, 1.5, 3
    x, inner = 3.0, 50
    for _ in range(rounds):
        w = np.full(4, x)
        for _ in range(K):
            theta = (A * B + lam * w) / (A + lam)  # the argmin
            w = w - eta * lam * (w - theta)
        x = (1 - beta) * x + beta * w.mean()
    task, clients = quadratic(A, B)
    made = after(task, clients, PFedMe(client="sgd(lr=0.2)", lam=lam, eta=eta, inner=inner, beta=beta), rounds, steps=K)
    assert point(made) == pytest.approx(x, rel=1e-12)
    assert np.allclose(made.stores["theta"].read(range(4))[:, 0], theta, rtol=1e-12)


@pytest.mark.parametrize("learn", [True, False])
def test_apfl_is_its_algorithm(learn: bool) -> None:
    x, v, a = 3.0, np.full(4, 3.0), np.full(4, 0.3)
    for _ in range(6):
        w = np.full(4, x)
        for _ in range(K):
            g, h = A * (w - B), A * (a * v + (1 - a) * w - B)
            new = np.clip(a - LR * (v - w) * h, 0, 1) if learn else a
            v, w, a = v - LR * a * h, w - LR * g, new
        x = w.mean()
    task, clients = quadratic(A, B)
    made = after(task, clients, Apfl(client=SGD, alpha=0.3, learn=learn), 6, steps=K)
    assert point(made) == pytest.approx(x, rel=1e-12)
    rows = {name: made.stores[name].read(range(4)) for name in made.method.rows}
    assert np.allclose(rows["v"][:, 0], v, rtol=1e-12) and np.allclose(0.3 + rows["shift"][:, 0], a, atol=1e-12)
    own = made.method.own(rows, made.server.weights())[:, 0]
    assert np.allclose(own, a * v + (1 - a) * x, rtol=1e-12)
    assert learn == bool((np.abs(a - 0.3) > 1e-3).any())


def test_the_global_models_of_apfl_and_finetune_are_fedavgs() -> None:
    assert torch.allclose(ends(Apfl()), ends(FedAvg()), rtol=0, atol=1e-13)
    assert torch.equal(ends(FineTune()), ends(FedAvg()))
    task, clients = blobs(dtype=torch.float64)
    made = after(task, clients, Apfl(alpha=0.0, learn=False), 2)
    rows = {name: made.stores[name].read(range(8)) for name in made.method.rows}
    assert torch.equal(made.method.own(rows, made.server.weights()), made.server.weights().expand(8, -1))


def test_finetune_trains_the_global_model_on_for_each_client() -> None:
    task, clients = quadratic(A, B)
    run = Federation(task, clients, FineTune(client=SGD, passes=3), steps=K).run(4)
    w = float(run.model.x.detach())  # type: ignore[union-attr, arg-type]
    own = B + (1 - LR * A) ** 3 * (w - B)
    assert np.allclose(run.clients["own_loss"], A / 2 * (own - B) ** 2, rtol=1e-10)
    assert np.allclose(run.clients["loss"], A / 2 * (w - B) ** 2, rtol=1e-10)


def test_fedrep_trains_heads_then_bodies() -> None:
    """Two rounds by hand: torch's own SGD, heads first with the body held, then the other way round."""
    task, clients = blobs(dtype=torch.float64, clients=3)
    made = opened(Federation(task, clients, FedRep(head_epochs=2)), 2)
    start = task.build(0)
    heads = [copy.deepcopy(start[2]) for _ in range(3)]
    for turn in range(2):
        ends_, sizes = [], [len(own) for own in clients.rows]
        for i in range(3):
            model = copy.deepcopy(start)
            model[2].load_state_dict(heads[i].state_dict())
            for part, epochs in ((model[2], 2), (model[0], 1)):
                work = made.clients.work([i], turn, 4, epochs)
                for step in range(int(work.steps[0])):
                    model.zero_grad()
                    task.training_loss(model, made.clients.batch(work, 0, step)).backward()
                    with torch.no_grad():
                        for p in part.parameters():
                            p -= 0.1 * p.grad
            heads[i] = model[2]
            ends_.append(model[0])
        with torch.no_grad():
            for name, p in start[0].named_parameters():
                p.copy_(
                    sum(n * dict(m.named_parameters())[name] for n, m in zip(sizes, ends_, strict=True)) / sum(sizes)
                )
        made.round()
    body = torch.cat([p.detach().flatten() for p in start[0].parameters()])
    assert torch.allclose(made.server.weights()[: len(body)], body, rtol=0, atol=1e-12)
    own = torch.stack([torch.cat([p.detach().flatten() for p in head.parameters()]) for head in heads])
    assert torch.allclose(made.stores["own"].read(range(3))[:, len(body) :], own, rtol=0, atol=1e-12)


def test_fedrep_and_fedper_keep_the_same_part() -> None:
    task, clients = blobs()
    made = [after(task, clients, m, 1) for m in (FedRep(), FedPer())]
    assert torch.equal(made[0].method.kept, made[1].method.kept)


# ----------------------------------------------------------------------------------------------------------- features


def by_hand(term: Any, method: Any, rounds: int = 2) -> tuple[Tensor, Tensor]:
    """A federation of one client, by torch's own SGD with a term on the features; and as ours has it."""
    task, clients = blobs(dtype=torch.float64, clients=1, rows=64)
    made = opened(Federation(task, clients, method), rounds)
    model = task.build(0)
    past = copy.deepcopy(model)
    for turn in range(rounds):
        sent = copy.deepcopy(model)
        work = made.clients.work([0], turn, 4, 1)
        for step in range(int(work.steps[0])):
            batch = made.clients.batch(work, 0, step)
            model.zero_grad()
            z = [m[:2](batch[0]) for m in (model, sent, past)]
            loss = task.loss(model[2](z[0]), batch) + term(z[0], z[1].detach(), z[2].detach())
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.1 * p.grad
        past = copy.deepcopy(model)
        with torch.no_grad():  # the server goes half the way, so that what was sent is not what came back
            for p, q in zip(model.parameters(), sent.parameters(), strict=True):
                p.copy_((p + q) / 2)
        made.round()
    return torch.cat([p.detach().flatten() for p in model.parameters()]), made.server.weights()


def test_moon_adds_its_contrastive_loss() -> None:
    cos = nn.CosineSimilarity(dim=1)

    def term(z: Tensor, sent: Tensor, past: Tensor) -> Tensor:
        near, far = torch.exp(cos(z, sent) / 0.5), torch.exp(cos(z, past) / 0.5)
        return -2.0 * torch.log(near / (near + far)).mean()

    want, found = by_hand(term, Moon(mu=2.0, server="sgd(lr=0.5)"), rounds=3)
    assert torch.allclose(found, want, rtol=0, atol=1e-12)
    assert not torch.allclose(found, by_hand(term, FedAvg(server="sgd(lr=0.5)"), rounds=3)[1], atol=1e-6)


def test_feddecorr_adds_the_squared_correlations() -> None:
    def term(z: Tensor, *_: Tensor) -> Tensor:
        return 3.0 * torch.corrcoef(z.T).square().sum() / z.shape[1] ** 2

    want, found = by_hand(term, FedDecorr(beta=3.0, server="sgd(lr=0.5)"))
    assert torch.allclose(found, want, rtol=0, atol=1e-4)  # a hair under the root keeps dead features finite
    assert not torch.allclose(found, by_hand(term, FedAvg(server="sgd(lr=0.5)"))[1], atol=1e-2)


@pytest.mark.parametrize("method", [Moon(mu=0.0), FedDecorr(beta=0.0)], ids=str)
def test_without_their_terms_they_are_fedavg_bit_for_bit(method: Any) -> None:
    assert torch.equal(ends(method), ends(FedAvg()))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x)) + self.two(x)


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.two = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(x.view(-1, 2, 2)).sum(1)


@pytest.mark.parametrize(
    ("layers", "text", "said"),
    [
        (lambda: nn.Linear(4, 3), "moon", "Linear is one layer itself"),
        (None, "feddecorr(features='neck')", "no module 'neck' whose input could be its features. It has: 0, 1, 2"),
        (Twice, "feddecorr", "module 'two' ran 2 times in a forward pass"),
        (Rows, "moon", r"the input of module 'two' is \(\d+, 2, 2\) for a batch of \d+ rows"),
        (Twice, "moon", "ran 2 times"),
    ],
)
def test_features_that_cannot_be_found_are_an_error_that_says_so(layers: Any, text: str, said: str) -> None:
    task, clients = blobs(layers=layers)
    with pytest.raises(FederationError, match=said):
        after(task, clients, text, 1)


def test_features_may_be_the_input_of_any_module() -> None:
    assert not torch.equal(ends(FedDecorr(features="1", beta=5.0)), ends(FedDecorr(beta=5.0)))


@pytest.mark.parametrize("text", ["mime", "apfl", "pfedme"])
def test_methods_that_take_gradients_one_by_one_refuse_batch_norm(text: str) -> None:
    task, clients = blobs(layers=lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)))
    with pytest.raises(FederationError, match=r"1\.running_mean.*group or layer norm"):
        after(task, clients, text, 1)


# ----------------------------------------------------------------------------------------------------- aligned moments


def test_moments_are_averaged_and_carried_on_with_the_direction() -> None:
    """FedMuon's Algorithm 2 with the momentum rule in Muon's place, on the quadratics."""
    alpha, beta = 0.25, 0.9
    x, M, D, found = 3.0, 0.0, 0.0, []
    for _ in range(6):
        y, m = np.full(4, x), np.full(4, M)
        for _ in range(K):
            m = beta * m + A * (y - B)
            y = y - LR * ((1 - alpha) * m + alpha * D)
        D, M = -((y - x) / (K * LR)).mean(), m.mean()
        x = y.mean()
        found.append(x)
    method = Aligned(client=f"sgd(lr={LR}, momentum={beta})", alpha=alpha)
    for engine in ("loop", "stacked"):
        assert trail(method, engine=engine) == pytest.approx(found, rel=1e-11)


def test_moments_of_adam_keep_their_count() -> None:
    x, m, v, t, found = 3.0, 0.0, 0.0, 0, []
    for _ in range(4):
        y, ms, vs = np.full(4, x), np.full(4, m), np.full(4, v)
        for k in range(1, K + 1):
            g = A * (y - B)
            ms, vs = 0.9 * ms + 0.1 * g, 0.999 * vs + 0.001 * g * g
            y = y - 0.05 * (ms / (1 - 0.9 ** (t + k))) / (np.sqrt(vs / (1 - 0.999 ** (t + k))) + 1e-8)
        x, m, v, t = y.mean(), ms.mean(), vs.mean(), t + K
        found.append(x)
    for engine in ("loop", "stacked"):
        assert trail(Aligned(client="adam(lr=0.05)", alpha=0.0), 4, engine=engine) == pytest.approx(found, rel=1e-6)


def test_nothing_aligned_is_fedavg_bit_for_bit() -> None:
    for client in ("sgd(lr=0.1, momentum=0.9)", "muon(lr=0.02)"):
        aligned = Aligned(client=client, alpha=0.0, moments=False)
        assert torch.equal(ends(aligned), ends(FedAvg(client=client, weighting="equal")))


@pytest.mark.parametrize("server", ["lion(lr=0.01)", "muon(lr=0.02)"])
def test_any_rule_can_be_the_server(server: str) -> None:
    """FedLion and FedMuon at the server: the rule, alone, on minus the mean update."""
    import steepest as st

    task, clients = blobs(dtype=torch.float64)
    made = opened(Federation(task, clients, FedAvg(server=server, adaptive="rule")), 3)
    model = task.build(0)
    optimizer = st.parse(server).optimizer(model, steps=3)
    plain = opened(Federation(task, clients, "fedavg"), 3)
    for turn in range(3):
        plain.vectors.put(made.server.weights(), plain.server.model)
        plain.turn = turn
        before = plain.server.weights()
        plain.round()
        update = plain.server.weights() - before
        for p, part in zip(model.parameters(), update.split([p.numel() for p in model.parameters()]), strict=True):
            p.grad = -part.view_as(p)
        optimizer.step()
        made.round()
        w = torch.cat([p.detach().flatten() for p in model.parameters()])
        assert torch.allclose(made.server.weights(), w, rtol=0, atol=1e-10)


def test_sophia_clients_make_fedsophia() -> None:
    task, clients = blobs()
    run = Federation(task, clients, "fedavg(client=sophia(lr=0.01))", sample=4).run(2)
    assert run.status == "finished"
