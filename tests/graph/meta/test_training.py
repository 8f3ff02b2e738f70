"""Meta-training: what is the same for all members, and a run that was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from steepest.graph.meta import MetaTraining, Plan
from steepest.graph.meta.families import HELD_OUT, TRAIN, Family, Tasks
from steepest.graph.meta.runs import Runs
from steepest.rules.neurons import outputs, unflatten, untrained

torch.set_num_threads(1)

TINY = (
    Family("mlp", (3, 4, 2), 6, batch=4),
    Family("conv", (2, 3, 2), 4, batch=4, taps=3, length=5, activation="tanh", kind="numbers"),
)
PLAN = Plan(updates=7, pairs=2, tasks=2, piece=2, judge=0, keep=2)


def test_members_with_the_same_weights_are_the_same_run() -> None:
    runs = Runs(TINY[0], 2, 3, seed=0)
    losses = runs.steps(untrained().float().expand(6, -1), 5)
    assert losses.shape == (5, 2, 3)
    assert torch.equal(losses[..., 0], losses[..., 1]) and not torch.equal(losses[:, 0], losses[:, 1])


@pytest.mark.parametrize("family", TRAIN + HELD_OUT, ids=lambda f: f.name)
def test_a_stack_computes_what_torch_does(family: Family) -> None:
    tasks = Tasks(family, 2, torch.Generator().manual_seed(0), augment=False)
    x, y = tasks.batch(torch.Generator().manual_seed(1))
    out = family.forward(tasks.first, x)
    act = torch.relu if family.activation == "relu" else torch.tanh
    for i in range(2):
        h = x[i]
        for j in range(0, len(tasks.first), 2):
            W, b = tasks.first[j][i], tasks.first[j + 1][i]
            if family.taps and j == 0:
                signal_ = h.unflatten(1, (family.widths[0], family.length))
                h = act(torch.nn.functional.conv1d(signal_, W, b)).mean(2)
                continue
            h = torch.nn.functional.linear(h, W, b)
            h = act(h) if j + 2 < len(tasks.first) else h
        torch.testing.assert_close(out[i], h, rtol=1e-4, atol=1e-5)
    assert family.losses(tasks.first, x, y).shape == (2,)


def test_rescaling_changes_no_function() -> None:
    family = Family("mlp", (5, 6, 6, 3), 10)
    for seed in range(3):
        plain = Tasks(family, 2, torch.Generator().manual_seed(seed), augment=False)
        other = Tasks(family, 2, torch.Generator().manual_seed(seed), augment=True)
        seen = [p * s.reshape(-1, *[1] * (p.ndim - 1)) for p, s in zip(other.first, other.scales, strict=True)]
        x, _ = plain.batch(torch.Generator().manual_seed(9))
        torch.testing.assert_close(family.forward(plain.first, x), family.forward(seen, x), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(plain.first[0], other.first[0])


def test_stopped_and_resumed_it_has_the_same_bits(tmp_path: Path) -> None:
    whole = MetaTraining(PLAN, tmp_path / "whole", families=TINY)
    whole.train()
    parts = tmp_path / "parts"
    MetaTraining(PLAN, parts, families=TINY).train(3)  # the third update is behind the last checkpoint
    again = MetaTraining(PLAN, parts, families=TINY)
    assert again.update == 2
    assert torch.equal(again.train(), whole.theta)
    lines = [[json.loads(x) for x in (f / "curve.jsonl").read_text().splitlines()] for f in (parts, tmp_path / "whole")]
    kept = [[{k: v for k, v in line.items() if k != "cpu_seconds"} for line in curve] for curve in lines]
    assert kept[0] == kept[1] and [line["update"] for line in kept[0]] == list(range(1, 8))


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    MetaTraining(PLAN, tmp_path, families=TINY).train(2)
    with pytest.raises(ValueError, match="another plan"):
        MetaTraining(Plan(updates=8, pairs=2, tasks=2, piece=2, judge=0, keep=2), tmp_path, families=TINY)


KILLED = """
import sys, torch
from pathlib import Path
from steepest.graph.meta import MetaTraining, Plan
from steepest.graph.meta.families import Family
torch.set_num_threads(1)
tiny = (Family("mlp", (3, 4, 2), 6, batch=4),)
training = MetaTraining(Plan(updates=400, pairs=2, tasks=2, piece=2, judge=0, keep=2), Path(sys.argv[1]), families=tiny)
print("go", flush=True)
training.train()
"""


@pytest.mark.slow
def test_killed_and_resumed_it_has_the_same_bits(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"go\n"
    curve = tmp_path / "curve.jsonl"
    while not curve.exists() or len(curve.read_text().splitlines()) < 20:
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    plan = Plan(updates=400, pairs=2, tasks=2, piece=2, judge=0, keep=2)
    again = MetaTraining(plan, tmp_path, families=TINY[:1])
    assert 18 <= again.update < 400
    found = again.train(7)
    whole = MetaTraining(plan, families=TINY[:1])
    assert torch.equal(whole.train(again.update), found)


def test_a_known_gradient_moves_its_number_alone() -> None:
    training = MetaTraining(Plan(updates=30, pairs=8, tasks=2, piece=2, judge=0, lr=0.02), families=TINY[:1])
    start = training.theta

    def preferring(runs: Runs, pairs: object) -> tuple[float, torch.Tensor]:
        gradient = torch.zeros(int(outputs().sum()))
        gradient[3] = 1.0
        return 0.0, gradient

    training.piece = preferring  # type: ignore[method-assign, assignment]
    training.train()
    moved = {name: part.flatten() for name, part in unflatten(training.theta - start).items()}
    assert moved["skip"][3] < -0.1
    assert sum(int(part.count_nonzero()) for part in moved.values()) == 1
