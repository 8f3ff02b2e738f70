from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from steepest.core.errors import SteepestError, UnknownName
from steepest.tasks.data import DataError
from steepest.tasks.task import Task, TaskError


def squared(output: Tensor, batch: Any) -> Tensor:
    return (output - batch[1]).square().mean()


def largest(output: Tensor, batch: Any) -> Tensor:
    return (output - batch[1]).abs().mean()


def line() -> nn.Module:
    return nn.Linear(2, 1)


def points(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return x, x.sum(1, keepdim=True) + 1


def a_task(**changes: Any) -> Task:
    fields: dict[str, Any] = {
        "name": "line",
        "model": line,
        "loss": squared,
        "train": points(50),
        "validation": points(23, 1),
        "metrics": {"distance": largest},
        "batch_size": 8,
        "steps": 40,
    }
    return Task(**{**fields, **changes})


# ------------------------------------------------------------------------------------------------------------ model


def test_a_seed_fixes_the_initialisation_whatever_was_drawn_before() -> None:
    task = a_task()
    first = task.build(3)
    torch.rand(11)
    before = torch.get_rng_state()
    again, other = task.build(3), task.build(4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.weight, other.weight)


def test_initialisation_and_data_order_do_not_share_random_numbers() -> None:
    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = nn.Parameter(torch.randperm(50).float())

    order = torch.cat([b[0][:, 0] for b in (a_task().batches(0).batch(s) for s in range(6))])
    own = points(50)[0][a_task(model=Noise).build(0).p.long(), 0]
    assert not torch.equal(order, own[:48])


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(TaskError, match=r"'line'.*ReLU with nothing to train"):
        a_task(model=nn.ReLU).build()
    with pytest.raises(TaskError, match="must return a torch module; it returned None"):
        a_task(model=lambda: None).build()

    def frozen() -> nn.Module:
        return nn.Linear(2, 1).requires_grad_(False)

    with pytest.raises(TaskError, match="nothing to train"):
        a_task(model=frozen).build()


# --------------------------------------------------------------------------------------------------------- bad input


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"name": ""}, TaskError, "a task needs a name.*given ''"),
    ({"name": "a/b"}, TaskError, "can name a folder; given 'a/b'"),
    ({"name": ".."}, TaskError, "can name a folder"),
    ({"model": nn.Linear(2, 1)}, TaskError, r"fresh one.*model=lambda: Linear\(\.\.\.\)"),
    ({"loss": "mse"}, TaskError, "loss must be callable; given 'mse'"),
    ({"forward": None}, TaskError, "forward must be callable; given None"),
    ({"metric": "distanse"}, UnknownName, "no metric 'distanse'. Did you mean 'distance'.*measures: loss, distance"),
    ({"metric": "distance", "metrics": {}}, UnknownName, "no metric 'distance'.*measures: loss"),
    ({"metrics": {"loss": largest}}, TaskError, "'loss' is always there"),
    ({"metrics": {"distance": 3}}, TaskError, "metric 'distance' must be callable; given 3"),
    ({"metrics": [largest]}, TaskError, "metrics must be a dict"),
    ({"goal": "maximise"}, TaskError, "'min' or 'max'; given 'maximise'"),
    ({"metric": "accuracy", "metrics": {"accuracy": largest}}, TaskError, "the worst accuracy. Give goal='max'"),
    ({"batch_size": 0}, TaskError, "batch_size must be a whole number >= 1; given 0"),
    ({"batch_size": 8.0}, TaskError, "batch_size must be a whole number >= 1; given 8.0"),
    ({"steps": True}, TaskError, "steps must be a whole number >= 1; given True"),
    ({"eval_every": -5}, TaskError, "eval_every must be a whole number >= 1; given -5"),
    ({"target": math.nan}, TaskError, "target must be a number; given nan"),
    ({"optimum": "zero"}, TaskError, "optimum must be a number; given 'zero'"),
    ({"train": (torch.zeros(0, 2), torch.zeros(0, 1))}, DataError, "train of task 'line' is empty"),
    ({"validation": (torch.zeros(3, 2), torch.zeros(4, 1))}, DataError, "validation of task 'line'.*3, 4 samples"),
    ({"test": torch.zeros(3)}, DataError, "test of task 'line' is one tensor"),
]


@pytest.mark.parametrize(
    ("changes", "kind", "message"), BAD, ids=[f"{next(iter(c))} {i}" for i, (c, *_) in enumerate(BAD)]
)
def test_bad_fields_are_refused_when_the_task_is_made(changes: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        a_task(**changes)
    assert isinstance(caught.value, SteepestError)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="batchsize"):
        a_task(batchsize=8)


def test_a_loss_that_is_not_a_scalar_tensor_is_refused() -> None:
    model, batch = line(), points(5)
    with pytest.raises(TaskError, match=r"scalar; it has shape \(5, 1\). Return loss.mean\(\)"):
        a_task(loss=lambda out, batch: (out - batch[1]).square()).training_loss(model, batch)
    with pytest.raises(TaskError, match="must be a tensor; it is a float"):
        a_task(loss=lambda out, batch: 0.0).training_loss(model, batch)
    with pytest.raises(TaskError, match="loss does not depend on any parameter"):
        a_task(loss=lambda out, batch: squared(out.detach(), batch)).training_loss(model, batch)
    with pytest.raises(TaskError, match="loss must be a real number; it is int64"):
        a_task(loss=lambda out, batch: out.argmax()).training_loss(model, batch)


def test_a_metric_that_is_not_a_scalar_is_refused() -> None:
    with pytest.raises(TaskError, match=r"metric 'm' must be a scalar; it has shape \(8, 1\)"):
        a_task(metrics={"m": lambda out, batch: out}).evaluate(line())


def test_a_split_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"no split 'valid'. Did you mean 'validation'"):
        a_task().evaluate(line(), "valid")
    with pytest.raises(TaskError, match=r"has no test split. It has: train, validation"):
        a_task().evaluate(line(), "test")
    assert a_task(test=points(3)).splits == ("train", "validation", "test")


# -------------------------------------------------------------------------------------------------------- evaluation


def as_pairs(data: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(*data, strict=True))


class AsStream(IterableDataset[Any]):
    def __init__(self, data: tuple[Tensor, Tensor]) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(as_pairs(self.data))


class AsDicts(Dataset[Any]):
    def __init__(self, data: tuple[Tensor, Tensor]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data[0])

    def __getitem__(self, i: int) -> dict[int, Tensor]:
        return {0: self.data[0][i], 1: self.data[1][i]}


FORMS: dict[str, Any] = {
    "tensors": lambda data: data,
    "tensor dataset": lambda data: TensorDataset(*data),
    "list of samples": as_pairs,
    "dataset of dicts": AsDicts,
    "loader": lambda data: DataLoader(TensorDataset(*data), 7, shuffle=True),
    "loader that drops": lambda data: DataLoader(TensorDataset(*data), 7, drop_last=True),
    "stream": AsStream,
    "loader of a stream": lambda data: DataLoader(AsStream(data), 7),
}


@pytest.mark.parametrize("form", FORMS)
def test_evaluation_is_the_mean_over_all_samples(form: str) -> None:
    data = points(23, 1)
    task = a_task(validation=FORMS[form](data), train=FORMS[form](points(50)))
    model = task.build(0)
    full = model(data[0])
    result = task.evaluate(model)
    assert result["loss"] == pytest.approx(squared(full, data).item(), rel=1e-6)
    assert result["distance"] == pytest.approx(largest(full, data).item(), rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_task_of_each_kind_of_data_trains(form: str) -> None:
    task = a_task(validation=FORMS[form](points(23, 1)), train=FORMS[form](points(50)))
    model, order = task.build(0), task.batches(0)
    for step in range(200):
        loss = task.training_loss(model, order.batch(step))
        for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
            p.data -= 0.1 * g
    torch.testing.assert_close(torch.cat([p.flatten() for p in model.parameters()]), torch.ones(3), atol=1e-4, rtol=0)
    assert task.evaluate(model)["loss"] < 1e-6


def test_evaluation_touches_nothing() -> None:
    class Drawing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.part(x) + torch.randn(()) + random.random()
            return out

    task = a_task(model=Drawing)
    model = task.build(0)
    model.train()
    model.part[1].eval()
    model(points(9)[0]).sum().backward()
    modes = [m.training for m in model.modules()]
    state = copy.deepcopy(model.state_dict())
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    before = torch.get_rng_state(), random.getstate()
    first = task.evaluate(model)
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert [m.training for m in model.modules()] == modes and modes[0] and not all(modes)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.is_grad_enabled()
    torch.rand(5)
    assert task.evaluate(model) == first, "what is drawn at evaluation is the same each time"


@pytest.mark.parametrize("form", FORMS)
def test_a_model_that_writes_to_its_input_does_not_change_the_data(form: str) -> None:
    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x.mul_(2))
            return out

    task = a_task(model=Writing, train=FORMS[form](points(50)), validation=FORMS[form](points(23, 1)))
    model = task.build(0)
    first = task.evaluate(model), task.evaluate(model, "train")
    for step in range(12):
        task.training_loss(model, task.batches(0).batch(step))
    assert (task.evaluate(model), task.evaluate(model, "train")) == first


def test_modes_come_back_after_an_error() -> None:
    def fails(output: Any, batch: Any) -> Tensor:
        raise RuntimeError("in the loss")

    model = line().train()
    with pytest.raises(RuntimeError, match="in the loss"):
        a_task(loss=fails).evaluate(model)
    assert model.training and torch.is_grad_enabled()


def test_a_nan_is_reported_and_not_hidden() -> None:
    model = line()
    nn.init.constant_(model.weight, math.nan)
    assert math.isnan(a_task().evaluate(model)["loss"])


def test_a_metric_may_be_a_plain_number() -> None:
    assert (
        a_task(metrics={"count": lambda out, batch: len(out)}).evaluate(line())["count"] == (8 * 8 + 8 * 8 + 7 * 7) / 23
    )


# ---------------------------------------------------------------------------------------------------- small methods


def test_reached() -> None:
    low, high = a_task(target=0.5), a_task(metric="distance", goal="max", target=0.5)
    assert low.reached(0.5) and not low.reached(0.6) and high.reached(0.6) and not high.reached(0.4)
    assert not a_task().reached(-1e9) and not low.reached(math.nan)


def test_a_check_finds_mistakes_and_changes_nothing() -> None:
    before = torch.get_rng_state()
    a_task().check()
    a_task(train=None, validation=None, forward=lambda m, b: m.weight.sum(), loss=lambda o, b: o, metrics={}).check()
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(TaskError, match=r"Return loss.mean\(\)"):
        a_task(loss=lambda out, batch: out).check()
    with pytest.raises(TaskError, match="metric 'm'"):
        a_task(metrics={"m": lambda out, batch: out}).check()
    where = r"metric 'm' on a validation batch failed: KeyError: 'missing' \(test_task.py, line \d+\)"
    with pytest.raises(TaskError, match=where):
        a_task(metrics={"m": lambda out, batch: {}["missing"]}).check()
    one = line()
    with pytest.raises(TaskError, match="the same module again"):
        a_task(model=lambda: one).check()


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_lazy_layer_is_refused_until_it_has_a_shape() -> None:
    with pytest.raises(TaskError, match=r"'weight' has no shape yet \(a lazy layer\)\. Give the layer its sizes"):
        a_task(model=lambda: nn.LazyLinear(1)).build()

    def materialised() -> nn.Module:
        model = nn.LazyLinear(1)
        model(torch.zeros(2, 1))
        return model

    assert a_task(model=materialised).parameters() == 2


def test_a_task_prints_itself_in_a_line() -> None:
    assert repr(a_task()) == "<Task 'line': 40 steps, 50 samples in 8s, min loss>"
    assert repr(a_task(train=None)) == "<Task 'line': 40 steps, min loss>"


def test_clocks() -> None:
    assert (a_task().steps_per_epoch, a_task(train=None).steps_per_epoch) == (6, None)
    assert (a_task().eval_interval, a_task(eval_every=7).eval_interval, a_task(steps=3).eval_interval) == (2, 7, 1)


def test_a_record_is_plain_data() -> None:
    record = a_task(facts={"corpus": "ab"}).record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["parameters"], record["samples"]) == (3, {"train": 50, "validation": 23, "test": None})


def test_a_task_is_a_value_that_can_be_changed_by_copy_and_sent_to_a_process() -> None:
    task = dataclasses.replace(a_task(), steps=7)
    there = pickle.loads(pickle.dumps(task))
    assert there.steps == 7
    assert torch.equal(there.batches(2).batch(4)[0], task.batches(2).batch(4)[0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.steps = 8


def test_the_losses_of_several_tasks_come_from_one_forward_pass() -> None:
    passes = []

    def forward(model: nn.Module, batch: Any) -> Any:
        passes.append(batch)
        return model(batch[0])

    task = a_task(forward=forward, losses={"near": largest, "far": squared})
    found = task.training_losses(line(), points(5))
    assert list(found) == ["near", "far"] and len(passes) == 1
    assert list(a_task().training_losses(line(), points(5))) == ["loss"]
    with pytest.raises(TaskError, match="losses must be a dict"):
        a_task(losses=[squared])
    with pytest.raises(TaskError, match="loss 'far' must be callable; given 3"):
        a_task(losses={"far": 3})
    with pytest.raises(TaskError, match=r"scalar; it has shape \(5, 1\)"):
        a_task(losses={"all": lambda out, batch: out}).training_losses(line(), points(5))
