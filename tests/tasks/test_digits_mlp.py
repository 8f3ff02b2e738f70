from __future__ import annotations

from torch import nn

from steepest.tasks.digits_mlp import digits_mlp, perceptron


def test_the_layers_are_64_128_128_10() -> None:
    layers = [m for m in perceptron().modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [(64, 128), (128, 128), (128, 10)]


def test_the_loss_chooses_and_the_error_is_reported() -> None:
    task = digits_mlp()
    assert (task.metric, task.goal, list(task.metrics), task.steps) == ("loss", "min", ["error"], 600)
