"""Who belongs with whom: affinities, clusters, and methods that use them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import silhouette_score
from torch import Tensor, nn

import steepest as st
from steepest.core.errors import SteepestError
from steepest.multitask import (
    Aggregator,
    Clustered,
    Laplacian,
    MultiTask,
    MultiTaskError,
    Smoothed,
    UPGrad,
    alike,
    cluster,
    lookahead,
)
from steepest.multitask.cluster import labelled, members, silhouette
from steepest.multitask.solvers import cosines

TRUTH = (0, 1, 0, 2, 1, 0, 2, 0)


def planted(within: float, noise: float, seed: int = 0, labels: tuple[int, ...] = TRUTH) -> Tensor:
    """Similarities of so much inside a group, none outside, and noise on all."""
    draw = torch.Generator().manual_seed(seed)
    of = torch.tensor(labels)
    S = within * (of[:, None] == of[None, :]).double()
    S = S + noise * torch.randn(len(of), len(of), generator=draw, dtype=torch.float64)
    return ((S + S.mT) / 2).clamp(-1, 1).fill_diagonal_(1)


# -- clusters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("within", "noise"), [(0.9, 0.1), (0.5, 0.1), (0.3, 0.05)])
def test_planted_clusters_are_found(within: float, noise: float, seed: int) -> None:
    assert cluster(planted(within, noise, seed)) == TRUTH


def test_the_order_of_the_tasks_does_not_matter() -> None:
    S, order = planted(0.6, 0.1), torch.randperm(8, generator=torch.Generator().manual_seed(1))
    turned = cluster(S[order][:, order])
    assert turned == labelled(members(tuple(TRUTH[i] for i in order)))


def test_nothing_is_found_where_nothing_is() -> None:
    assert all(cluster(planted(0.0, 0.05, seed)) == tuple(range(8)) for seed in range(5))
    assert cluster(torch.full((5, 5), 0.9)) == (0,) * 5
    assert cluster(torch.tensor([[1.0, 0.2], [0.2, 1.0]])) == (0, 0)
    assert cluster(torch.tensor([[1.0, -0.2], [-0.2, 1.0]])) == (0, 1)
    assert cluster(torch.ones(1, 1)) == (0,)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_as_many_as_are_wanted_are_those_of_scipy(count: int) -> None:
    S = planted(0.5, 0.3, seed=3)
    theirs = fcluster(linkage(squareform((1 - S).numpy(), checks=False), "average"), count, "maxclust")
    ours = cluster(S, count)
    assert len(set(ours)) == count
    assert [[a == b for b in ours] for a in ours] == [[a == b for b in theirs] for a in theirs]


def test_the_silhouette_is_that_of_scikit_learn() -> None:
    for seed in range(4):
        S = planted(0.4, 0.3, seed)
        D = (1 - S).numpy().copy()
        numpy.fill_diagonal(D, 0)
        assert silhouette(S, TRUTH) == pytest.approx(silhouette_score(D, TRUTH, metric="precomputed"))
    alone = (0, 1, 1, 1, 1, 1, 1, 1)
    D = (1 - planted(0.4, 0.1)).numpy().copy()
    numpy.fill_diagonal(D, 0)
    assert silhouette(planted(0.4, 0.1), alone) == pytest.approx(silhouette_score(D, alone, metric="precomputed"))


def test_what_is_no_similarity() -> None:
    with pytest.raises(MultiTaskError, match=r"square matrix of finite numbers; got shape \(2, 3\)"):
        cluster(torch.ones(2, 3))
    with pytest.raises(MultiTaskError, match="3 tasks make 1 to 3 groups; got count=4"):
        cluster(torch.eye(3), 4)


# -- lookahead --------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, tasks: int = 4) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 8), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(8, 1) for _ in range(tasks))

    def losses(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        h = self.trunk(x)
        return {f"t{i}": (head(h)[:, 0] - y[:, i]).square().mean() for i, head in enumerate(self.heads)}


def setting(tasks: int = 4, seed: int = 0) -> tuple[Net, Tensor, Tensor]:
    torch.manual_seed(seed)
    net = Net(tasks).double()
    return net, torch.randn(16, 6, dtype=torch.float64), torch.randn(16, tasks, dtype=torch.float64)


@pytest.mark.parametrize("step", [{"lr": 0.1}, {"length": 0.05}])
def test_a_probe_is_a_step_taken_and_taken_back(step: dict[str, float]) -> None:
    net, x, y = setting()
    kept = [p.detach().clone() for p in net.parameters()]
    Z = lookahead(lambda: net.losses(x, y), **step)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), kept, strict=True))
    assert all(p.grad is None for p in net.parameters())
    for i in range(4):
        other, _, _ = setting()
        grads = torch.autograd.grad(other.losses(x, y)[f"t{i}"], list(other.trunk.parameters()))
        norm = float(torch.cat([g.flatten() for g in grads]).norm())
        with torch.no_grad():
            for p, g in zip(other.trunk.parameters(), grads, strict=True):
                p -= step.get("lr", step.get("length", 0.0) / norm) * g
            before, after = net.losses(x, y), other.losses(x, y)
        expected = [1 - float(after[n] / before[n]) for n in before]
        assert Z[i].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_probe_that_breaks_leaves_the_parameters() -> None:
    net, x, y = setting()
    kept = [p.detach().clone() for p in net.parameters()]
    calls = 0

    def losses() -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise RuntimeError("no more")
        return net.losses(x, y)

    with pytest.raises(RuntimeError, match="no more"):
        lookahead(losses, lr=0.1)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), kept, strict=True))


def test_what_is_no_probe() -> None:
    net, x, y = setting()
    with pytest.raises(MultiTaskError, match="give lr or length"):
        lookahead(lambda: net.losses(x, y))
    with pytest.raises(MultiTaskError, match="a number above 0; got -1"):
        lookahead(lambda: net.losses(x, y), lr=-1)
    a, b = nn.Linear(2, 1), nn.Linear(2, 1)
    with pytest.raises(MultiTaskError, match="share no parameter"):
        lookahead(lambda: {"a": a(torch.ones(1, 2)).sum(), "b": b(torch.ones(1, 2)).sum()}, lr=0.1)


def test_small_probes_are_the_cosines() -> None:
    """To first order a step for i lowers L_j by g_i g_j: as a share of j's own step of that length, the cosine."""
    net, x, y = setting()
    Z = lookahead(lambda: net.losses(x, y), length=1e-6)
    tasks = MultiTask(net, UPGrad())
    tasks.backward(net.losses(x, y))
    assert torch.allclose(alike(Z), tasks.affinity, atol=1e-4)


# -- the mean inside, surgery across ----------------------------------------------------------------------------------


def test_the_direction_is_that_of_the_means() -> None:
    J = torch.randn(6, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = (0, 1, 0, 2, 1, 0)
    means = torch.stack([J[list(group)].mean(0) for group in members(labels)])
    found = Clustered(UPGrad(), labels=labels)(J)
    assert torch.allclose(found, UPGrad()(means))
    assert torch.allclose(Clustered(UPGrad(), labels=(0,) * 6)(J), J.mean(0))
    assert torch.allclose(Clustered(UPGrad(), labels=tuple(range(6)))(J), UPGrad()(J))


def test_clusters_are_found_kept_and_found_again() -> None:
    draw = torch.Generator().manual_seed(0)
    common = torch.randn(3, 40, generator=draw, dtype=torch.float64)
    J = common[list(TRUTH)] + 0.3 * torch.randn(8, 40, generator=draw, dtype=torch.float64)
    at_work = Aggregator(Clustered(UPGrad(), every=3, decay=0.0))
    at_work(J)
    assert tuple(at_work.state.labels.tolist()) == TRUTH
    other = common[[0, 0, 0, 0, 1, 1, 1, 1]] + 0.1 * torch.randn(8, 40, generator=draw, dtype=torch.float64)
    at_work(other), at_work(other)
    assert tuple(at_work.state.labels.tolist()) == TRUTH
    at_work(other)
    assert tuple(at_work.state.labels.tolist()) == (0, 0, 0, 0, 1, 1, 1, 1)


@pytest.mark.parametrize(
    "inner", ["cagrad()", "nash_mtl()", "mgda(normalise='loss')", "gradnorm()", "sdmgrad()", "pcgrad()"]
)
def test_it_goes_with_every_method_that_compares(inner: str) -> None:
    run = st.fit("planted-clusters", f"adamw | clustered(of={inner}, every=2)", steps=5, progress=False, monitor="off")
    assert run.status == "finished"
    assert all(line["groups"] < 20 for line in run.metrics("train") if "groups" in line)


class Passes(torch.autograd.Function):
    """Counts backward passes."""

    count = 0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        Passes.count += 1
        return g


@pytest.mark.parametrize("level", ["gramian", "jacobian", "features"])
def test_a_step_costs_a_pass_for_each_cluster(level: Any) -> None:
    """And the heads have their plain gradients, and the trunk the weighted sum of the means."""
    net, x, y = setting(6)
    labels = (0, 1, 0, 2, 1, 0)

    def losses() -> dict[str, Tensor]:
        h = net.trunk[2:](Passes.apply(net.trunk[:2](x)))
        return {f"t{i}": (head(h)[:, 0] - y[:, i]).square().mean() for i, head in enumerate(net.heads)}

    tasks = MultiTask(net, Clustered(UPGrad(), labels=labels), level=level)
    Passes.count = 0
    tasks.backward(losses())
    assert Passes.count == (1 if level == "features" else 3)
    w = torch.tensor([tasks.weights[f"t{i}"] for i in range(6)], dtype=torch.float64)
    assert [round(float(w[a] - w[b]), 12) for a, b in ((0, 2), (0, 5), (1, 4))] == [0, 0, 0]
    found = losses()
    expected = torch.autograd.grad(
        sum(wi * loss for wi, loss in zip(w, found.values(), strict=True)), list(net.trunk.parameters())
    )
    for p, g in zip(net.trunk.parameters(), expected, strict=True):
        assert torch.allclose(p.grad, g, atol=1e-10)  # type: ignore[arg-type]
    for i, head in enumerate(net.heads):
        g = torch.autograd.grad(losses()[f"t{i}"], list(head.parameters()))
        assert all(torch.allclose(p.grad, x) for p, x in zip(head.parameters(), g, strict=True))  # type: ignore[arg-type]
    assert tasks.metrics["groups"] == 3


def test_means_of_tasks_that_reach_past_the_features() -> None:
    """A head that takes the features and what they are made of, in a group with one that does not."""
    torch.manual_seed(0)
    a, b = nn.Linear(4, 5).double(), nn.Linear(5, 5).double()
    heads = nn.ModuleList([nn.Linear(5, 1), nn.Linear(5, 1), nn.Linear(5, 1)]).double()
    x = torch.randn(7, 4, dtype=torch.float64)

    def losses() -> dict[str, Tensor]:
        early = a(x).tanh()
        late = b(early).tanh()
        return {
            "one": (heads[0](late) + heads[0](early)).square().mean(),
            "two": (heads[1](late) - 1).square().mean(),
            "three": (heads[2](late) + 2 * early).square().mean(),
        }

    shared = [*a.parameters(), *b.parameters()]
    rows = torch.stack(
        [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, shared, retain_graph=True)])
            for loss in losses().values()
        ]
    )
    expected = UPGrad()(torch.stack([(rows[0] + rows[1]) / 2, rows[2]]))
    for level in ("gramian", "jacobian"):
        for p in [*shared, *heads.parameters()]:
            p.grad = None
        MultiTask(None, Clustered(UPGrad(), labels=(0, 0, 1)), level=level).backward(losses())  # type: ignore[arg-type]
        got = torch.cat([p.grad.flatten() for p in shared])  # type: ignore[union-attr]
        assert torch.allclose(got, expected, atol=1e-10)


def test_clusters_of_another_number_of_tasks() -> None:
    with pytest.raises(MultiTaskError, match="there are 3 tasks, and labels for 2"):
        Clustered(UPGrad(), labels=(0, 1))(torch.ones(3, 4))
    with pytest.raises(SteepestError, match="clustered needs a method that compares gradients"):
        st.parse("adamw | clustered(of=log_sum())")


# -- smoothing, and heads ---------------------------------------------------------------------------------------------


def test_smoothing_borrows_only_from_those_that_agree() -> None:
    draw = torch.Generator().manual_seed(0)
    J = torch.randn(3, 9, generator=draw, dtype=torch.float64)
    apart = J - 1.2 * J.mean(0)
    assert bool((cosines(apart @ apart.mT)[1] < 0).sum() == 6)
    assert torch.allclose(Smoothed(UPGrad())(apart), UPGrad()(apart))
    same = torch.stack([J[0], 3 * J[0], -J[1]])
    G = same @ same.mT
    n, C = cosines(G)
    S = torch.softmax(torch.where(C >= 0, C / 0.2, -torch.inf), -1)
    borrowed = n[:, None] * (S @ (same / n[:, None]))
    assert torch.allclose(Smoothed(UPGrad(), tau=0.2)(same), UPGrad()(borrowed), atol=1e-9)


def test_the_pull_between_heads_is_the_gradient_of_its_loss() -> None:
    torch.manual_seed(0)
    heads = [nn.Linear(4, 2).double() for _ in range(5)]
    A = torch.randn(5, 5, dtype=torch.float64)
    pull = Laplacian(heads, A, weight=0.3)
    params = [p for head in heads for p in head.parameters()]
    expected = torch.autograd.grad(pull.loss(), params)
    by_hand = 0.0
    for i in range(5):
        for j in range(i):
            pairs = zip(heads[i].parameters(), heads[j].parameters(), strict=True)
            apart = sum(float((p - q).detach().square().sum()) for p, q in pairs)
            by_hand += 0.15 * max(0.0, float(A[i, j] + A[j, i]) / 2) * apart
    assert float(pull.loss().detach()) == pytest.approx(by_hand)
    for head in heads:
        head.weight.grad = torch.ones_like(head.weight)
    pull.backward()
    for p, g in zip(params, expected, strict=True):
        assert torch.allclose(p.grad, g + (1.0 if p.ndim == 2 else 0.0))  # type: ignore[operator, arg-type]


def test_heads_that_cannot_be_pulled() -> None:
    with pytest.raises(MultiTaskError, match=r"head 1 has other parameters than head 0: weight \(1, 3\)"):
        Laplacian([nn.Linear(2, 1), nn.Linear(3, 1)], torch.ones(2, 2), 0.1)
    with pytest.raises(MultiTaskError, match=r"2 heads, and an affinity of shape \(3, 3\)"):
        Laplacian([nn.Linear(2, 1), nn.Linear(2, 1)], torch.ones(3, 3), 0.1)
    with pytest.raises(MultiTaskError, match="weight is a number >= 0; got -1"):
        Laplacian([nn.Linear(2, 1)], torch.ones(1, 1), -1)


# -- the planted task -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_planted_clusters_of_twenty_tasks_are_recovered(seed: int) -> None:
    """By training alone: what the method knows after a hundred steps is the partition that was planted."""
    task = st.tasks.load("planted-clusters")
    truth = labelled(members(tuple(task.facts["clusters"].values())))
    model, order = task.build(seed), task.batches(seed)
    opt = st.parse("adamw(lr=3e-3) | clustered(upgrad(), every=5)").optimizer(model, steps=150)
    for step in range(121):
        opt.zero_grad()
        opt.backward(task.training_losses(model, order.batch(step)))
        opt.step()
    assert tuple(opt.tasks.state.labels.tolist()) == truth
    assert opt.tasks.metrics.get("groups", 4) == 4


def test_a_resumed_run_goes_on_with_its_clusters(tmp_path: Any) -> None:
    task = dataclasses.replace(st.tasks.load("planted-clusters"), steps=8)
    options: dict[str, Any] = {"progress": False, "monitor": "off", "checkpoint_every": 4}
    strategy = "adamw(lr=1e-3) | clustered(of=sdmgrad(), every=3)"
    whole = st.fit(task, strategy, **options)

    class Killed(Exception):
        pass

    def kill(step: int, _: float) -> None:
        if step == 6:
            raise Killed

    with pytest.raises(Killed):
        st.fit(task, strategy, out=tmp_path / "part", on_step=kill, **options)
    again = st.fit(task, strategy, out=tmp_path / "part", resume=True, **options)
    for p, q in zip(whole.model.parameters(), again.model.parameters(), strict=True):  # type: ignore[union-attr]
        assert torch.equal(p, q)
