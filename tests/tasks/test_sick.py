"""The sick cases are sick, in the way they say."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from steepest import tasks
from steepest.tasks.adding_rnn import additions
from steepest.tasks.task import Task, TaskError


def gradient_norms(task: Task, seed: int = 0) -> dict[str, float]:
    model = task.build(seed)
    task.training_loss(model, task.batches(seed).batch(0)).backward()
    return {name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}


def test_an_addition_has_two_marks_one_in_each_half() -> None:
    x, y = additions("test", 300, 11)
    marks = x[:, :, 1]
    assert torch.equal(marks[:, :5].sum(1), torch.ones(300)) and torch.equal(marks[:, 5:].sum(1), torch.ones(300))
    torch.testing.assert_close((x[:, :, 0] * marks).sum(1, keepdim=True), y)
    assert ((x[:, :, 0] >= 0) & (x[:, :, 0] < 1)).all()
    assert y.var().item() == pytest.approx(1 / 6, rel=0.2)


def test_always_answering_one_is_the_plateau() -> None:
    task = tasks.load("adding-rnn")
    model = task.build(0)
    nn.init.zeros_(model.head.weight)
    nn.init.ones_(model.head.bias)
    assert task.evaluate(model, "train")["loss"] == pytest.approx(1 / 6, rel=0.05)


def test_gradients_vanish_through_sigmoids() -> None:
    norms = [n for name, n in gradient_norms(tasks.load("digits-sigmoids")).items() if name.endswith("weight")]
    assert all(a < 0.5 * b for a, b in pairwise(norms))
    assert norms[0] < 1e-5 * norms[-1]


def test_gradients_explode_through_time_and_by_the_gain() -> None:
    total = [
        sum(n**2 for n in gradient_norms(tasks.load(f"exploding-rnn(gain={gain})")).values()) ** 0.5
        for gain in (0.5, 1.0, 2.0)
    ]
    assert total[0] < total[1] < total[2] and total[2] > 1000 > 10 > total[0]


def test_a_gain_must_be_positive_and_a_sum_needs_two_numbers() -> None:
    with pytest.raises(TaskError, match="gain > 0; given gain=-1"):
        tasks.load("exploding-rnn(gain=-1)")
    with pytest.raises(TaskError, match="length >= 2; given length=1"):
        tasks.load("adding-rnn(length=1)")
