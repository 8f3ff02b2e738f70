"""M-ConFIG, Auto-lambda, and gradients compared as Adam will scale them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import steepest as st
from steepest.multitask import AutoLambda, ConFIG, MConFIG, MultiTask, MultiTaskError, Preconditioned, UPGrad
from steepest.multitask.preconditioned import diagonal


class Two(nn.Module):
    def __init__(self, tasks: int = 3) -> None:
        super().__init__()
        self.trunk = nn.Linear(5, 6)
        self.heads = nn.ModuleList(nn.Linear(6, 1) for _ in range(tasks))

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        h = self.trunk(x).tanh()
        return {f"t{i}": (head(h) - 2 * i).square().mean() for i, head in enumerate(self.heads)}


def setting(seed: int = 0) -> tuple[Two, Tensor]:
    torch.manual_seed(seed)
    return Two().double(), torch.randn(9, 5, dtype=torch.float64)


def rows(model: Two, x: Tensor) -> Tensor:
    found = model.losses(x).values()
    params = list(model.trunk.parameters())
    return torch.stack(
        [torch.cat([g.flatten() for g in torch.autograd.grad(y, params, retain_graph=True)]) for y in found]
    )


# -- M-ConFIG ---------------------------------------------------------------------------------------------------------


def test_m_config_with_adam_is_the_papers_algorithm() -> None:
    """Algorithm 1 of arXiv:2408.11104 step by step, on the trunk; the first step takes all gradients."""
    beta1, beta2, lr, eps = 0.9, 0.999, 1e-2, 1e-8
    model, x = setting()
    other, _ = setting()
    for each in (model, other):
        each.heads.requires_grad_(False)  # the paper has no heads
    tasks = MultiTask(model, MConFIG(beta1))
    adam = torch.optim.Adam(model.trunk.parameters(), lr=lr, betas=(beta1, beta2), eps=eps)
    m = v = before = None
    counts = [0, 0, 0]
    for t in range(1, 12):
        adam.zero_grad()
        tasks.backward(model.losses(x))
        adam.step()
        J = rows(other, x)
        m = torch.zeros_like(J) if m is None else m
        for i in range(3) if t == 1 else [(t - 2) % 3]:
            m[i] = beta1 * m[i] + (1 - beta1) * J[i]
            counts[i] += 1
        hat = torch.stack([m[i] / (1 - beta1 ** counts[i]) for i in range(3)])
        g = ConFIG()(hat)
        momentum = g * (1 - beta1**t)
        pseudo = (momentum - beta1 * (0 if before is None else before)) / (1 - beta1)
        before = momentum
        v = (1 - beta2) * pseudo**2 + (0 if v is None else beta2 * v)
        step = lr * g / ((v / (1 - beta2**t)).sqrt() + eps)
        with torch.no_grad():
            parts = step.split([p.numel() for p in other.trunk.parameters()])
            for p, d in zip(other.trunk.parameters(), parts, strict=True):
                p -= d.view_as(p)
        for p, q in zip(model.trunk.parameters(), other.trunk.parameters(), strict=True):
            assert torch.allclose(p, q, rtol=1e-8, atol=1e-10), t


def test_m_config_sends_one_task_backward_and_spares_no_head() -> None:
    model, x = setting()
    tasks = MultiTask(model, MConFIG())
    tasks.backward(model.losses(x))
    for turn in (0, 1, 2, 0):
        model.zero_grad()
        assert tasks.method.together(3, tasks.state, tasks.t + 1) == ((turn,),)
        tasks.backward(model.losses(x))
        for i, head in enumerate(model.heads):
            g = torch.autograd.grad(model.losses(x)[f"t{i}"], head.weight)[0]
            assert torch.allclose(head.weight.grad, g)  # type: ignore[arg-type]


# -- Auto-lambda ------------------------------------------------------------------------------------------------------


def test_auto_lambda_moves_as_finite_differences_say() -> None:
    """The authors' estimate: how the training losses change along the gradient of the primary validation loss."""
    model, x = setting()
    other = torch.randn(9, 5, dtype=torch.float64)
    primary = (1.0, 0.0, 0.0)
    tasks = MultiTask(model, AutoLambda(primary, lr=0.01), level="jacobian")
    params = list(model.trunk.parameters())
    h = torch.autograd.grad(model.losses(other)["t0"], params)
    eps = 1e-5
    with torch.no_grad():
        for p, d in zip(params, h, strict=True):
            p += eps * d
        up = torch.stack(list(model.losses(x).values()))
        for p, d in zip(params, h, strict=True):
            p -= 2 * eps * d
        down = torch.stack(list(model.losses(x).values()))
        for p, d in zip(params, h, strict=True):
            p += eps * d
    helps = (up - down) / (2 * eps)  # a step down for i lowers the primary loss where this is positive
    tasks.backward(model.losses(x), other=model.losses(other))
    learned = tasks.state
    assert torch.allclose(learned.m, -0.1 * helps, rtol=1e-6)
    assert torch.allclose(learned.x, 0.1 + 0.01 * helps.sign(), rtol=1e-6)  # Adam's first step
    assert list(tasks.weights.values()) == pytest.approx(learned.x.tolist())


def test_a_helper_that_hurts_ends_at_zero_and_not_below() -> None:
    J = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    at_work = st.multitask.Aggregator(AutoLambda((1.0, 0.0), lr=0.01))
    for _ in range(30):
        d = at_work(J)
    assert at_work.state.x[1] == 0
    assert torch.allclose(d, at_work.state.x[0] * J[0])


# -- the metric of the rule -------------------------------------------------------------------------------------------


def worst(model: Two, x: Tensor, adam: torch.optim.Optimizer) -> float:
    """The smallest first-order gain of a loss from the step that Adam would make of ``.grad`` without momentum."""
    scale, J = diagonal(adam), rows(model, x)
    d = torch.cat([(p.grad * scale(p)).flatten() for p in model.trunk.parameters()])  # type: ignore[operator]
    return float((J @ d).min())


def test_in_adams_metric_no_loss_goes_up_under_adams_step() -> None:
    """Where the plain method's promise is broken by the scaling of entries."""
    broken = 0
    for seed in range(6):
        model, x = setting(seed)
        adam = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(5):
            adam.zero_grad()
            torch.stack(list(model.losses(x).values())).sum().backward()
            adam.step()
        model.zero_grad()
        MultiTask(model, UPGrad()).backward(model.losses(x))
        broken += worst(model, x, adam) < -1e-6
        model.zero_grad()
        MultiTask(model, Preconditioned(UPGrad()), optimizer=adam).backward(model.losses(x))
        assert worst(model, x, adam) > -1e-9
    assert broken > 0


def test_in_a_strategy_the_metric_is_that_of_its_rule() -> None:
    model, x = setting()
    opt = st.parse("adam(lr=1e-2) | preconditioned(of=upgrad())").optimizer(model)
    theirs, _ = setting()
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-2)
    by_hand = MultiTask(theirs, Preconditioned(UPGrad()), optimizer=adam)
    for _ in range(6):
        opt.zero_grad(), adam.zero_grad()
        opt.backward(model.losses(x)), by_hand.backward(theirs.losses(x))
        opt.step(), adam.step()
    for p, q in zip(model.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-9)
    assert opt.tasks.weights == pytest.approx(by_hand.weights)


def test_without_squares_it_is_the_method_itself_and_without_an_optimizer_an_error() -> None:
    model, x = setting()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    MultiTask(model, Preconditioned(UPGrad()), optimizer=sgd).backward(model.losses(x))
    found = [p.grad.clone() for p in model.parameters()]  # type: ignore[union-attr]
    model.zero_grad()
    MultiTask(model, UPGrad()).backward(model.losses(x))
    assert all(torch.allclose(p.grad, g) for p, g in zip(model.parameters(), found, strict=True))  # type: ignore[arg-type]
    with pytest.raises(MultiTaskError, match="Hand it over"):
        MultiTask(model, Preconditioned(UPGrad())).backward(model.losses(x))
    with pytest.raises(MultiTaskError, match="level='jacobian'"):
        MultiTask(model, Preconditioned(UPGrad()), optimizer=sgd, level="gramian").backward(model.losses(x))
