from __future__ import annotations

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error

from steepest import tasks
from steepest.tasks.digits_multitask import LOSSES


def test_each_loss_is_at_hand_and_the_loss_is_their_sum() -> None:
    task = tasks.load("digits-multitask")
    model, batch = task.build(0), task.batches(0).batch(0)
    parts = task.training_losses(model, batch)
    assert list(parts) == list(LOSSES) == ["class", "parity", "reconstruction"]
    torch.testing.assert_close(sum(parts.values()), task.training_loss(model, batch))


def test_each_loss_moves_the_trunk_and_its_own_head_alone() -> None:
    task = tasks.load("digits-multitask")
    model, batch = task.build(0), task.batches(0).batch(0)
    for name, loss in task.training_losses(model, batch).items():
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, retain_graph=True)
        for (path, _), g in zip(model.named_parameters(), gradients, strict=True):
            own = path.startswith(("trunk", f"heads.{name}."))
            assert (g is not None and g.abs().sum() > 0) == own, (name, path)


def test_the_measures_are_those_of_scikit_learn() -> None:
    task = tasks.load("digits-multitask")
    model = task.build(1)
    x, y = task.validation
    found = task.evaluate(model)
    with torch.no_grad():
        out = model.double()(x.double())
    odd = torch.sigmoid(out["parity"][:, 0])
    assert found["class"] == pytest.approx(log_loss(y, out["class"].softmax(1), labels=range(10)), rel=1e-4)
    assert found["parity"] == pytest.approx(log_loss(y % 2, odd), rel=1e-4)
    assert found["reconstruction"] == pytest.approx(mean_squared_error(x, out["reconstruction"]), rel=1e-4)
    assert found["error"] == pytest.approx(1 - accuracy_score(y, out["class"].argmax(1)))
    assert found["parity_error"] == pytest.approx(1 - accuracy_score(y % 2, odd > 0.5))
