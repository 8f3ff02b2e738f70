from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from steepest.tasks.digits_cnn import convolutional_network, digits_cnn


def test_channels_and_batch_normalisation() -> None:
    model = convolutional_network()
    assert [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)] == [16, 32, 32]
    assert [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d)] == [16, 32, 32]


def test_running_statistics_move_in_training_and_not_in_evaluation() -> None:
    task = digits_cnn()
    model = task.build(0)
    buffers = [b.clone() for b in model.buffers()]
    task.evaluate(model)
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
    model.train()
    task.training_loss(model, task.batches(0).batch(0))
    assert not any(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))


def test_evaluation_does_not_depend_on_the_batch_size() -> None:
    task = digits_cnn()
    model = task.build(0)
    for step in range(3):
        task.training_loss(model.train(), task.batches(0).batch(step))
    one, all_at_once = (dataclasses.replace(task, batch_size=n).evaluate(model) for n in (1, 10_000))
    assert one == pytest.approx(all_at_once, rel=1e-5)
