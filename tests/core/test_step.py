"""What may happen to parameters, gradients and state between two steps, and to groups that differ."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.two_tensor import TwoTensor

from steepest.core.executors import Choice
from steepest.optim import SGD, Adam, AdamW, DropIn
from steepest.strategy import parse

EXECUTORS: tuple[Choice, ...] = ("auto", "blocked", "reference")


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("ours", "theirs", "flag"),
    [
        (Adam, torch.optim.Adam, {"decoupled_weight_decay": True}),
        (SGD, torch.optim.SGD, {"nesterov": True}),
        (Adam, torch.optim.Adam, {"amsgrad": True}),
        (SGD, torch.optim.SGD, {"maximize": True}),
    ],
)
def test_groups_with_flags_of_their_own(
    ours: type[DropIn], theirs: Any, flag: dict[str, Any], executor: Choice
) -> None:
    """Two groups may keep the same state and yet follow different formulas."""
    shared = {"lr": 0.1, "weight_decay": 0.5, **({"momentum": 0.9} if ours is SGD else {})}
    sides: list[list[Tensor]] = []
    for cls, more in ((ours, {"executor": executor}), (theirs, {})):
        params = [nn.Parameter(torch.linspace(1, 2, 5, dtype=torch.float64)) for _ in range(2)]
        opt = cls([{"params": params[:1]}, {"params": params[1:], **flag}], **shared, **more)
        for t in range(4):
            for p in params:
                p.grad = torch.linspace(-1, t, 5, dtype=torch.float64)
            opt.step()
        sides.append([p.detach() for p in params])
    torch.testing.assert_close(sides[0], sides[1], rtol=1e-12, atol=1e-13)


def test_rules_that_keep_the_same_state_in_a_partition() -> None:
    """Adam and RAdam keep the same two tensors; each parameter follows its own rule."""
    net = nn.Linear(3, 2)
    twins = copy.deepcopy(net)
    opt = parse("partition(matrix=radam(lr=0.1), rest=adam(lr=0.1))").optimizer(net)
    peers = torch.optim.RAdam([twins.weight], lr=0.1), torch.optim.Adam([twins.bias], lr=0.1)
    for t in range(8):
        for p, q in zip(net.parameters(), twins.parameters(), strict=True):
            p.grad = torch.full_like(p, 1.0 + t)
            q.grad = p.grad.clone()
        for o in (opt, *peers):
            o.step()
    torch.testing.assert_close(list(net.parameters()), list(twins.parameters()))


CONVERSIONS = {
    "channels_last": lambda net: net.to(memory_format=torch.channels_last),
    "double": lambda net: net.double(),
    "there and back": lambda net: net.to(memory_format=torch.channels_last).double().float(),
}


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("what", CONVERSIONS)
def test_a_model_converted_between_steps(what: str, executor: Choice) -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(3, 8, 3)
    twin = copy.deepcopy(net)
    opt, peer = SGD(net.parameters(), 0.1, 0.9, executor=executor), torch.optim.SGD(twin.parameters(), 0.1, 0.9)
    for t in range(5):
        if t == 2:
            CONVERSIONS[what](net), CONVERSIONS[what](twin)
        make = torch.Generator().manual_seed(t)
        for p, q in zip(net.parameters(), twin.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=make).to(p.dtype)
            q.grad = p.grad.clone()
        opt.step(), peer.step()
        if t == 2 and what == "double":  # torch cannot mix precisions from here on
            for s in peer.state.values():
                s["momentum_buffer"] = s["momentum_buffer"].double()
    torch.testing.assert_close(list(net.parameters()), list(twin.parameters()))


def test_complex_parameters_converted_between_steps() -> None:
    z = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    opt = Adam([z], lr=0.1)
    for dtype in (torch.complex64, torch.complex128):
        z.data = z.data.to(dtype)
        z.grad = torch.ones_like(z)
        opt.step()
    torch.testing.assert_close(z.detach(), torch.full((3,), 0.8, dtype=torch.complex128), rtol=1e-6, atol=1e-7)


def test_a_conjugated_gradient() -> None:
    z = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    z.grad = torch.tensor([1 + 2j, 3 - 1j]).conj()
    SGD([z], lr=1.0).step()
    assert z.tolist() == [-1 + 2j, -3 - 1j]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_gradient_whose_sign_is_still_to_be_turned(executor: Choice) -> None:
    """The imaginary part of a conjugate is a view with a sign; autograd hands it on for a single entry."""
    a, b = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
    opt = SGD([a, b], lr=0.125, executor=executor)
    (torch.complex(a, b).conj() * torch.tensor(1 + 2j)).real.backward()
    assert b.grad is not None
    assert b.grad.is_neg()
    opt.step()
    assert (a.item(), b.item()) == (0.875, 0.75)


def test_state_that_was_moved_in_place() -> None:
    """``value.data = value.data.to(...)`` over the state is a common idiom: no pointer may be kept."""
    p = nn.Parameter(torch.zeros(64))
    opt = SGD([p], lr=1.0, momentum=0.5)
    p.grad = torch.ones(64)
    opt.step()
    for dtype in (torch.float64, torch.float32):
        buffer = opt.state[p]["momentum_buffer"]
        buffer.data = buffer.data.to(dtype) * 2
        opt.step()
    assert opt.state[p]["momentum_buffer"].unique().tolist() == [3.0]
    assert p.detach().unique().tolist() == [-6.0]


def test_a_parameter_that_was_pruned_needs_new_state() -> None:
    p = nn.Parameter(torch.zeros(4))
    opt = Adam([("head.bias", p)])
    p.grad = torch.ones(4)
    opt.step()
    p.data = p.data[:2]
    p.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"'head.bias' has shape \(2,\).*'exp_avg'.*\(4,\).*del optimizer.state"):
        opt.step()
    del opt.state[p]
    opt.step()
    assert p.shape == (2,)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_gradients_are_let_go(executor: Choice) -> None:
    p = nn.Parameter(torch.ones(3))
    opt = AdamW([p], clip_norm=1.0, executor=executor)
    p.grad = torch.ones(3)
    alive = weakref.ref(p.grad)
    opt.step()
    opt.zero_grad()
    assert alive() is None


@pytest.mark.parametrize("executor", EXECUTORS)
def test_subclasses_without_memory_of_their_own(executor: Choice) -> None:
    p = nn.Parameter(TwoTensor(torch.ones(3), torch.zeros(3)))
    opt = Adam([p], lr=0.1, executor=executor)
    p.grad = TwoTensor(torch.ones(3), -torch.ones(3))
    opt.step()
    torch.testing.assert_close(p.a, torch.full((3,), 0.9))
    torch.testing.assert_close(p.b, torch.full((3,), 0.1))
