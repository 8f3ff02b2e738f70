from __future__ import annotations

import pytest
import torch
from torch import Tensor

from steepest.tasks.quadratic import cosine_basis, quadratic
from steepest.tasks.task import Task


def hessian(task: Task) -> Tensor:
    x = torch.zeros(len(task.build(0).x), dtype=torch.float64)
    return torch.autograd.functional.hessian(lambda x: task.loss(x, ()), x)


def test_the_basis_is_orthonormal() -> None:
    for n in (1, 2, 7, 32):
        torch.testing.assert_close(cosine_basis(n) @ cosine_basis(n).T, torch.eye(n, dtype=torch.float64))


@pytest.mark.parametrize("rotated", [True, False])
@pytest.mark.parametrize("condition", [1.0, 10.0, 1e4])
def test_the_condition_number_is_as_asked(condition: float, rotated: bool) -> None:
    h = hessian(quadratic(dimension=8, condition=condition, rotated=rotated))
    values = torch.linalg.eigvalsh(h)
    assert values[-1].item() == pytest.approx(1, rel=1e-5)
    assert (values[-1] / values[0]).item() == pytest.approx(condition, rel=1e-3)
    ratios = values[1:] / values[:-1]
    torch.testing.assert_close(ratios, ratios.mean().expand(7), rtol=1e-3, atol=0)
    off = (h - h.diag().diag()).abs().max()
    assert (off < 1e-6) == (not rotated or condition == 1)


def test_the_optimum_is_zero_at_zero() -> None:
    task = quadratic()
    model = task.build(0)
    model.x.data.zero_()
    assert task.evaluate(model)["loss"] == task.optimum == 0
    assert task.training_loss(model, ()).item() == 0


def test_noise_has_mean_zero_and_the_covariance_of_the_model() -> None:
    task, h = (
        quadratic(dimension=6, condition=20.0, noise=0.7, samples=512),
        hessian(quadratic(dimension=6, condition=20.0)),
    )
    x = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert isinstance(task.train, tuple)
    each = torch.stack([torch.autograd.grad(task.loss(x, (xi[None],)), x)[0] for xi in task.train[0]])
    torch.testing.assert_close(each.mean(0), h @ x.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cov(each.T), 0.49 * h, atol=0.06, rtol=0.1)


def test_evaluation_is_exact_under_noise() -> None:
    noisy, exact = quadratic(noise=3.0), quadratic()
    model = exact.build(0)
    assert noisy.evaluate(model) == exact.evaluate(model)
    assert noisy.steps_per_epoch == 64 and exact.steps_per_epoch is None


def test_runs_start_where_their_seed_says() -> None:
    a, b, c = (quadratic().build(s).x for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
