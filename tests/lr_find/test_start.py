"""Every short run begins from the same state, bit for bit, and leaves no trace."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import steepest as st
from steepest.fit.loop import one_step
from steepest.lr_find import Start
from steepest.strategy import parse
from steepest.tasks import Task, load, seed_all
from steepest.tasks.randomness import mix

STRATEGY = parse("adamw(lr=0.01) | clip_norm(1.0)")


def noisy() -> Task:
    """Dropout draws, batch norm keeps buffers, and every batch is another."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=g)
    y = x @ torch.randn(4, 1, generator=g)

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))

    def loss(output: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (output - batch[1]).square().mean()

    return Task("noisy", model, loss, train=(x, y), validation=(x, y), batch_size=8, steps=60)


@pytest.mark.parametrize("after", [0, 7])
def test_the_same_run_gives_the_same_numbers_whatever_came_between(after: int) -> None:
    start = Start(noisy(), STRATEGY, seed=3, after=after)
    first = start.run(STRATEGY, 20)
    start.run(parse("sgd(lr=1e6)"), 20) if after == 0 else start.run(parse("adamw(lr=50.0) | clip_norm(1.0)"), 20)
    start.run(STRATEGY, 10)
    second = start.run(STRATEGY, 20)
    assert first.losses == second.losses and (first.begin, first.end) == (second.begin, second.end)
    assert len(first.losses) == 20 and len(set(first.losses)) == 20


def test_restoring_puts_back_weights_buffers_modes_gradients_and_random_states() -> None:
    start = Start(noisy(), STRATEGY, seed=0, after=5)
    start.restore()
    weights = {n: v.clone() for n, v in start.model.state_dict().items()}
    draws = (torch.rand(3), random.random(), float(np.random.rand()))
    seed_all(99)
    start.model.eval()
    for p in start.model.parameters():
        p.data.add_(1.0)
        p.grad = torch.ones_like(p)
    for b in start.model.buffers():
        b.add_(1)
    start.restore()
    assert all(torch.equal(v, weights[n]) for n, v in start.model.state_dict().items())
    assert all(m.training for m in start.model.modules()) and all(p.grad is None for p in start.model.parameters())
    again = (torch.rand(3), random.random(), float(np.random.rand()))
    assert torch.equal(draws[0], again[0]) and draws[1:] == again[1:]


def test_a_test_after_some_steps_goes_on_as_the_training_would() -> None:
    """Weights, buffers, dropout, data order and optimizer state: all are those of an uninterrupted run."""
    task, seed = noisy(), 4
    start = Start(task, STRATEGY, seed, after=9)
    found = start.run(STRATEGY, 15).losses
    model = task.build(seed).train()
    opt = STRATEGY.optimizer(model, steps=24, steps_per_epoch=8)
    batches = task.batches(seed)
    seed_all(mix(seed, "training"))
    whole = [one_step(task, model, opt, batches.batch(i)) for i in range(24)]
    assert tuple(whole[9:]) == found


def test_the_callers_model_and_random_states_are_untouched() -> None:
    model = noisy().build(1)
    before = copy.deepcopy(model.state_dict())
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    start = Start(noisy(), STRATEGY, seed=0, after=3, model=model)
    start.run(STRATEGY, 12)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate()
    assert states[2] == np.random.get_state()[1].tolist()


def test_the_loss_before_is_that_of_the_batches_of_the_end() -> None:
    task = noisy()
    task = Task("plain", lambda: nn.Linear(4, 1), task.loss, train=task.train, validation=task.validation, batch_size=8)
    start = Start(task, STRATEGY, seed=0)
    model, batches = task.build(0), task.batches(0)
    with torch.no_grad():
        expected = [float(task.training_loss(model, batches.batch(i))) for i in (28, 29)]
    assert start.run(STRATEGY, 30, 0.01).begin == pytest.approx(sum(task_mean(expected, start)) / 3)


def task_mean(last_two: list[float], start: Start) -> list[float]:
    with torch.no_grad():
        start.restore()
        return [float(start.task.training_loss(start.model, start.batches.batch(27))), *last_two]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sgd(lr=1e4)", "the loss grew to"),
        ("sgd(lr=1e30)", "the loss was not finite at step 2"),
        ("sgd(lr=1e30) | nonfinite('raise')", "not finite"),
        ("sgd(lr=2.1)", "above the"),
    ],
)
def test_what_went_wrong_is_said(text: str, said: str) -> None:
    assert said in Start(load("quadratic(condition=4)"), parse(text), seed=0).run(parse(text), 40).why


def test_each_seed_begins_with_the_run_of_its_own(tmp_path: Path) -> None:
    """``{seed}`` in the folder that a strategy starts from is filled in, as ``fit`` does."""
    runs = [
        st.fit("digits-half", "adamw", seed=seed, steps=2, out=tmp_path / f"seed-{seed}", progress=False, monitor="off")
        for seed in (0, 1)
    ]
    strategy = st.adamw(lr=1e-3) | st.start(str(tmp_path / "seed-{seed}"))
    for seed, run in enumerate(runs):
        assert run.model is not None
        start = Start(load("digits-half"), strategy, seed)
        for name, value in run.model.named_parameters():
            assert torch.equal(start.weights[name], value), (seed, name)
        assert start.run(strategy, 3).seed == seed
