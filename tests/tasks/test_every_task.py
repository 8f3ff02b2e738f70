"""What holds for every built-in task, found by name."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle

import pytest
import torch

from steepest import tasks
from steepest.tasks.task import Task

PARAMETERS = {
    "cancer-mlp": 6_274,
    "char-lstm": 117_856,
    "char-transformer": 116_576,
    "digits-cnn": 14_458,
    "digits-mlp": 26_122,
    "quadratic": 32,
    "rosenbrock": 2,
}
NAMES = [*tasks.names(), "quadratic(noise=0.5)", "rosenbrock(dimension=10)"]


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    return tasks.load(request.param)


def test_parameters_are_as_documented(task: Task) -> None:
    base = task.name.partition("(")[0]
    assert task.parameters() == (10 if "10" in task.name else PARAMETERS[base])


def test_a_step_has_finite_gradients_for_every_parameter(task: Task) -> None:
    model = task.build(0)
    task.training_loss(model, task.batches(0).batch(0)).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().sum() > 0, name


def test_every_split_can_be_evaluated(task: Task) -> None:
    model = task.build(0)
    if task.name.startswith("char"):  # 20 000 windows: a few of each
        few = {split: tuple(t[:40] for t in getattr(task, split)) for split in task.splits}
        task = dataclasses.replace(task, **few)
    for split in task.splits:
        result = task.evaluate(model, split)
        assert set(result) == {"loss", *task.metrics}
        assert all(math.isfinite(v) for v in result.values())


def test_a_classifier_starts_at_chance(task: Task) -> None:
    classes = {"cancer-mlp": 2, "digits-mlp": 10, "digits-cnn": 10, "char-lstm": 96, "char-transformer": 96}
    if task.name not in classes:
        assert task.metrics == {}
        return
    assert task.evaluate(task.build(0))["loss"] == pytest.approx(math.log(classes[task.name]), rel=0.05)


def test_the_same_seed_gives_the_same_losses(task: Task) -> None:
    def losses() -> list[float]:
        model, order = task.build(1), task.batches(1)
        return [float(task.training_loss(model, order.batch(s)).detach()) for s in (0, 1, 20)]

    first = losses()
    torch.rand(3)
    assert losses() == first


def test_the_record_is_plain_data_and_says_where_it_comes_from(task: Task) -> None:
    record = task.record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["source"] and record["description"]
    assert record["optimum"] is not None or record["samples"]["test"] > 100


def test_a_task_can_be_sent_to_a_process(task: Task) -> None:
    there = pickle.loads(pickle.dumps(task))
    assert there.record() == task.record()


def test_a_short_run_lowers_the_loss(task: Task) -> None:
    """Not a test of a rule: plain gradient descent with a small step must find these losses differentiable."""
    model, order = task.build(0), task.batches(0)
    parameters = list(model.parameters())
    model.train()
    before = task.evaluate(model)["loss"]
    rate = 1e-4 if task.name.startswith("rosenbrock") else 0.1
    for step in range(8):
        gradients = torch.autograd.grad(task.training_loss(model, order.batch(step)), parameters)
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p -= rate * g
    assert task.evaluate(model)["loss"] < before


def test_the_target_is_reachable_from_where_a_run_starts(task: Task) -> None:
    assert task.target is not None
    assert not task.reached(task.evaluate(task.build(0))[task.metric])
    assert task.optimum is None or task.target > task.optimum
