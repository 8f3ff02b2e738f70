"""A pass that is played again is the pass."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steepest.fleet.stack import Stack
from steepest.fleet.tape import Recorder, Tape, Unfit


def loss(model: nn.Module, batch: Any) -> Tensor:
    return model(batch).square().mean()


def stack_of(kind: Any) -> Stack:
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(kind())
    return Stack(models, [torch.Generator().manual_seed(seed) for seed in range(3)])


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, 2))


def passes(stack: Stack, taped: bool, steps: int = 8) -> list[list[Tensor]]:
    found = []
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        losses, gradients = stack.gradients(loss, torch.randn(3, 5, 4, generator=generator))
        found.append([losses.clone(), *(g.clone() for g in gradients.values() if g is not None)])
        if not taped:
            stack._takes.clear()
        with torch.no_grad():
            for name, g in gradients.items():
                assert g is not None
                stack.params[name] -= 0.1 * g
    return [*found, list(stack.buffers.values())]


def test_a_tape_gives_the_same_bits_with_dropout_and_running_statistics() -> None:
    stack = stack_of(plain)
    taped = passes(stack, True)
    (take,) = stack._takes.values()
    assert take.proven and take.tape is not None
    anew = passes(stack_of(plain), False)
    for a, b in zip(taped, anew, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Drawing(nn.Module):
    """Draws a number that torch does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * random.random()


class Counting(nn.Module):
    """Counts its passes, and acts on it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 2)
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.body(x) / self.passes


@pytest.mark.parametrize("kind", [Drawing, Counting])
def test_what_python_changes_is_found_anew_each_time(kind: Any) -> None:
    stack = stack_of(kind)
    random.seed(1)
    taped = passes(stack, True)
    assert all(take.tape is None for take in stack._takes.values())
    random.seed(1)
    anew = passes(stack_of(kind), False)
    for a, b in zip(taped, anew, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_batches_of_other_shapes_have_a_tape_each() -> None:
    stack = stack_of(lambda: nn.Linear(4, 2))
    for size in (5, 5, 5, 7, 5, 7, 7, 7):
        x = torch.randn(3, size, 4)
        losses, _ = stack.gradients(loss, x)
        expected = (x @ stack.params["weight"].mT + stack.params["bias"][:, None]).square().mean((1, 2))
        torch.testing.assert_close(losses, expected.detach())
    assert len(stack._takes) == 2 and all(take.proven for take in stack._takes.values())


def test_a_stack_that_shrinks_starts_again() -> None:
    stack = stack_of(plain)
    passes(stack, True, steps=4)
    stack.keep([0, 2])
    assert not stack._takes
    losses, _ = stack.gradients(loss, torch.randn(2, 5, 4))
    assert len(losses) == 2


def test_values_that_leave_torch_are_refused() -> None:
    x = torch.ones(2)
    with Recorder() as recorder:
        float(x.sum())
    with pytest.raises(Unfit, match="_local_scalar_dense"):
        Tape([x], None, recorder.calls)
    with Recorder() as recorder:
        x.nonzero()
    with pytest.raises(Unfit, match="nonzero"):
        Tape([x], None, recorder.calls)


def test_a_stack_does_not_import_the_compiler_of_torch() -> None:
    """Two seconds of every process; what watches a pass is marked as not to be compiled, as an optimizer is."""
    code = (
        "import sys, dataclasses, steepest as st; from steepest.fleet import Fleet, Member; "
        "task = dataclasses.replace(st.tasks.load('digits-mlp'), steps=6); "
        "runs = Fleet(task, [Member('adamw', seed=s) for s in range(4)], executor='stacked').run(); "
        "print({run.status for run in runs}, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{'finished'} False\n"
