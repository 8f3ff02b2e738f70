"""What holds for every built-in task, found by name."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import runpy
from itertools import combinations
from pathlib import Path

import pytest
import torch

import steepest as st
from steepest import tasks
from steepest.graph.tasks.imports import MARKS
from steepest.tasks.measured import cost, table, target
from steepest.tasks.suites import SUITES
from steepest.tasks.task import Task

IMPORTS = 32 * (len(MARKS) + 1) + 8 * 33
"""Keywords differ between versions of Python."""
PARAMETERS = {
    "adding-rnn": 4_417,
    "cancer-mlp": 6_274,
    "char-lstm": 117_856,
    "char-transformer": 116_576,
    "deep-linear": 3_456,
    "diabetes-mlp": 4_929,
    "digits-cnn": 14_458,
    "digits-graph": 2_410,
    "digits-half": 14_293,
    "digits-mlp": 26_122,
    "digits-multitask": 21_451,
    "digits-overlay": 13_268,
    "digits-sigmoids": 33_930,
    "exploding-rnn": 4_938,
    "gcn-partition": 1_254,
    "import-graph": IMPORTS,
    "karate": 628,
    "molecules": 11_073,
    "photo-autoencoder": 10_699,
    "planted-clusters": 1_412,
    "quadratic": 32,
    "rosenbrock": 2,
    "two-scales": 1_410,
}
SAMPLES = {
    "adding-rnn": (4096, 512, 512),
    "cancer-mlp": (345, 116, 108),
    "diabetes-mlp": (271, 89, 82),
    "digits-cnn": (1098, 364, 335),
    "digits-graph": (126, 364, 335),
    "digits-half": (547, 188, 166),
    "digits-mlp": (1098, 364, 335),
    "digits-multitask": (1098, 364, 335),
    "digits-overlay": (2196, 364, 335),
    "digits-sigmoids": (1098, 364, 335),
    "exploding-rnn": (1098, 364, 335),
    "gcn-partition": (180, 631, 576),
    "karate": (4, 13, 17),
    "molecules": (2753, 598, 575),
    "photo-autoencoder": (1096, 464, 520),
    "planted-clusters": (1000, 400, 400),
    "two-scales": (1000, 400, 400),
}
NAMES = [*tasks.names(), "quadratic(noise=0.5)", "rosenbrock(dimension=10)"]
ROOT = Path(__file__).resolve().parents[2]


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


def test_the_splits_are_as_documented_and_share_no_sample(task: Task) -> None:
    sizes = task.record()["samples"]
    if task.name in SAMPLES:
        assert tuple(sizes.values()) == SAMPLES[task.name]
    # exact problems have no samples; texts are divided by file (test_stdlib_text)
    if sizes["validation"] is None or task.name.startswith("char"):
        return
    rows = [{row.numpy().tobytes() for row in getattr(task, split)[0]} for split in task.splits]
    for a, b in combinations(rows, 2):
        assert not a & b
    again = tasks.load(task.name)
    for split in task.splits:
        assert all(torch.equal(a, b) for a, b in zip(getattr(task, split), getattr(again, split), strict=True))


CLASSES = {
    "cancer-mlp": 2,
    "char-lstm": 96,
    "char-transformer": 96,
    "digits-cnn": 10,
    "digits-graph": 10,
    "digits-half": 5,
    "digits-mlp": 10,
    "digits-sigmoids": 10,
    "exploding-rnn": 10,
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_classifier_starts_at_chance(name: str) -> None:
    task = tasks.load(name)
    assert task.evaluate(task.build(0))["loss"] == pytest.approx(math.log(CLASSES[name]), rel=0.05)


def test_other_tasks_start_where_theory_says() -> None:
    """On the training split, averaged over seeds: an output near 0 has the second moment as its loss."""

    def start(name: str, seeds: int = 5) -> dict[str, float]:
        task = tasks.load(name)
        found = [task.evaluate(task.build(seed), "train") for seed in range(seeds)]
        return {what: sum(f[what] for f in found) / seeds for what in found[0]}

    assert start("diabetes-mlp")["loss"] == pytest.approx(1, rel=0.1), "the variance"
    assert start("adding-rnn")["loss"] == pytest.approx(1 + 1 / 6, rel=0.15), "mean 1, variance 1/6"
    pixels = tasks.load("digits-mlp").train[0].square().mean().item()
    several = start("digits-multitask")
    assert several["class"] == pytest.approx(math.log(10), rel=0.02)
    assert several["parity"] == pytest.approx(math.log(2), rel=0.02)
    assert several["reconstruction"] == pytest.approx(pixels, rel=0.1), "and the output is small, not 0"
    assert several["loss"] == pytest.approx(sum(several[part] for part in ("class", "parity", "reconstruction")))


def test_the_same_seed_gives_the_same_losses(task: Task) -> None:
    def losses() -> list[float]:
        torch.manual_seed(0)  # dropout is the loop's business
        model, order = task.build(1), task.batches(1)
        return [float(task.training_loss(model, order.batch(s)).detach()) for s in (0, 1, 20)]

    first = losses()
    torch.rand(3)
    assert losses() == first


def test_the_record_is_plain_data_and_says_where_it_comes_from(task: Task) -> None:
    record = task.record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["source"] and record["description"]
    assert record["optimum"] is not None or record["samples"]["test"] > 80 or task.name == "karate"


def test_a_task_can_be_sent_to_a_process(task: Task) -> None:
    there = pickle.loads(pickle.dumps(task))
    assert there.record() == task.record()


RATES = {"two-scales": 1e-4, "rosenbrock": 1e-4, "rosenbrock(dimension=10)": 1e-4, "exploding-rnn": 1e-6}


def test_a_short_run_lowers_the_loss(task: Task) -> None:
    """Not a test of a rule: plain gradient descent with a small step must find these losses differentiable."""
    model, order = task.build(0), task.batches(0)
    parameters = list(model.parameters())
    model.train()
    before = task.evaluate(model, "train" if task.name in SAMPLES else "validation")["loss"]
    for step in range(8):
        gradients = torch.autograd.grad(task.training_loss(model, order.batch(step)), parameters)
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p -= RATES.get(task.name, 0.1) * g
    assert task.evaluate(model, "train" if task.name in SAMPLES else "validation")["loss"] < before


def test_a_copy_of_a_model_trains_as_the_model_does(task: Task) -> None:
    model = task.build(3)
    other, sent = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    batch = task.batches(3).batch(0)
    losses = []
    for one in (model, other, sent):
        torch.manual_seed(0)
        losses.append(task.training_loss(one.train(), batch).item())
    assert losses[0] == losses[1] == losses[2]
    task.build(4).load_state_dict(model.state_dict())


def test_fit_trains_it_and_reads_the_test_split(task: Task) -> None:
    few = dataclasses.replace(task, test=tuple(t[:70] for t in task.test) if task.test is not None else None)
    run = st.fit(few, "adamw(lr=1e-3)", steps=3, eval_every=3, progress=False)
    assert run.status == "finished"
    assert (run.test is None) == (task.test is None)
    assert set(run.validation) == {"loss", *task.metrics}


def test_compare_trains_it_in_other_processes() -> None:
    names = ["deep-linear", "diabetes-mlp", "digits-graph", "digits-multitask", "exploding-rnn"]
    arms = ["sgd(lr=0.01)", "adamw(lr=1e-3)"]
    board = st.compare([*names[:-1], tasks.load(names[-1])], arms, seeds=2, steps=2, jobs=2, progress=False)
    found = board.summary["tasks"]
    assert sorted(found) == names
    assert all(row["n"] == 2 for name in names for row in found[name]["leaderboard"])


# ----------------------------------------------------------------------------------------------- what is said of them


def test_what_a_task_is_for_is_said_in_a_sentence() -> None:
    for name, made in tasks.catalogue().items():
        assert made.reason.endswith(".") and 20 < len(made.reason) < 160, name


def test_the_stated_cost_is_what_is_counted() -> None:
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "tasks.py"))
    for name in benchmark["every"]():
        stated, task = cost(name), tasks.load(name)
        assert stated is not None, name
        assert stated["parameters"] == task.parameters(), name
        assert stated["flops"] == benchmark["operations"](task), name
        assert stated["steps"] == task.steps and stated["run_s"] > 0


def test_operations_of_a_perceptron_by_hand() -> None:
    """Six a weight and sample: two forwards, two for the weights, two for the inputs, which the first layer skips."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "tasks.py"))
    weights = [64 * 128, 128 * 128, 128 * 10]
    assert benchmark["operations"](tasks.load("digits-mlp")) == 64 * (6 * sum(weights) - 2 * weights[0])


def test_every_suite_is_made_of_tasks() -> None:
    for suite, members in SUITES.items():
        assert len({*members}) == len(members), suite
        assert all(tasks.load(name).name == name for name in members)
    assert {*SUITES["small"]} < {*SUITES["full"]} and len(SUITES["full"]) >= 10
    assert not {*SUITES["sick"]} & {*SUITES["full"]}


def test_the_target_is_out_of_reach_where_a_run_starts(task: Task) -> None:
    assert not task.reached(task.evaluate(task.build(0))[task.metric])
    assert task.optimum is None or task.target is None or task.target > task.optimum


def test_targets_are_measured_and_not_typed_in() -> None:
    for name, kept in table("targets").items():
        task = tasks.load(name)
        assert task.target == target(name) == kept["target"]
        assert (kept["metric"], kept["goal"], kept["steps"]) == (task.metric, task.goal, task.steps)
        reruns = kept["reruns"]
        assert len(reruns) >= 9 and kept["target"] == pytest.approx(sorted(reruns)[len(reruns) // 2], rel=1e-3)
        st.parse(kept["strategy"]).check()
    for name in tasks.names():
        task = tasks.load(name)
        assert task.target == target(name) or task.optimum is not None, "only an exact problem may state one itself"
