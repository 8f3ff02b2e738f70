"""What torch's own tests ask of an optimizer, and what its users do around one."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from steepest.optim import SGD, AdamW, Lion, NAdam

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(2))


def model() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def train(net: Callable[[Tensor], Tensor], opt: torch.optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        opt.zero_grad()
        net(X).square().mean().backward()
        opt.step()


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("set_to_none", [True, False])
def test_nothing_happens_without_gradients_or_with_zeros(set_to_none: bool) -> None:
    net = model()
    before = copy.deepcopy(net)
    opt = AdamW(net.parameters(), weight_decay=0.0)
    opt.step()  # before the first backward
    net(X).sum().backward()
    opt.zero_grad(set_to_none=set_to_none)
    opt.step()
    assert same(net, before)


def test_a_closure_that_raises_changes_nothing() -> None:
    net = model()
    opt = AdamW(net.parameters(), clip_norm=1.0)
    train(net, opt)
    before, saved = copy.deepcopy(net), copy.deepcopy(opt.state_dict())

    def closure() -> float:
        raise KeyError("batch")

    with pytest.raises(KeyError):
        opt.step(closure)
    assert same(net, before)
    torch.testing.assert_close(opt.state_dict()["state"], saved["state"], rtol=0, atol=0)
    assert opt.state_dict()["steepest"] == saved["steepest"]


def test_a_closure_under_no_grad_still_has_gradients() -> None:
    net = model()
    opt = SGD(net.parameters(), lr=0.1)

    def closure() -> Tensor:
        opt.zero_grad()
        loss: Tensor = net(X).square().mean()
        loss.backward()
        return loss

    with torch.no_grad():
        first, second = opt.step(closure), opt.step(closure)
    assert second < first


def test_a_step_in_inference_mode() -> None:
    net, twin = model(), model()
    for one, inference in ((net, True), (twin, False)):
        opt = AdamW(one.parameters())
        one(X).square().mean().backward()
        with torch.inference_mode(inference):
            opt.step()
        train(one, opt)
    assert same(net, twin)


def test_gradients_that_carry_a_graph() -> None:
    net, twin = model(), model()
    for one, create_graph in ((net, True), (twin, False)):
        opt = NAdam(one.parameters(), clip_norm=1.0)
        for _ in range(3):
            named = dict(one.named_parameters())
            loss = torch.func.functional_call(one, named, (X,)).square().mean()
            gradients = torch.autograd.grad(loss, list(named.values()), create_graph=create_graph)
            for p, g in zip(named.values(), gradients, strict=True):
                p.grad = g
            opt.step()
    assert same(net, twin)


def test_groups_added_later_and_rates_that_change() -> None:
    sides = []
    for cls in (AdamW, torch.optim.AdamW):
        net = model().double()
        opt: Any = cls(net[0].parameters(), lr=0.1)
        for t in range(4):
            if t == 2:
                opt.add_param_group({"params": net[2].parameters(), "lr": 0.01, "weight_decay": 0.3})
            opt.param_groups[0]["lr"] *= 0.5
            opt.zero_grad()
            net(X.double()).square().mean().backward()
            opt.step()
        sides.append(list(net.parameters()))
    torch.testing.assert_close(sides[0], sides[1], rtol=1e-12, atol=1e-14)


def test_two_optimizers_over_the_same_parameters() -> None:
    net, twin = model(), model()
    for one, classes in ((net, (AdamW, SGD)), (twin, (torch.optim.AdamW, torch.optim.SGD))):
        first, second = (cls(one.parameters(), lr=0.1) for cls in classes)
        for opt in (first, second, first, second):
            train(one, opt, 1)
    torch.testing.assert_close(list(net.parameters()), list(twin.parameters()))


def test_a_pickled_file(tmp_path: Path) -> None:
    net = model()
    opt = AdamW(net.parameters(), clip_norm=1.0)
    train(net, opt)
    file = tmp_path / "both.pkl"
    file.write_bytes(pickle.dumps((net, opt)))
    twin, twin_opt = pickle.loads(file.read_bytes())
    train(net, opt), train(twin, twin_opt)
    assert same(net, twin)


def test_a_copy_has_all_public_attributes_and_shares_nothing() -> None:
    net = model()
    opt = AdamW(net.parameters(), clip_norm=1.0)
    train(net, opt)
    twin = copy.deepcopy(opt)
    assert {k for k in vars(opt) if k[0] != "_"} == {k for k in vars(twin) if k[0] != "_"}
    saved = copy.deepcopy(twin.state_dict())
    opt.gradients[0][1]["max_norm"] = 7.0
    opt.param_groups[0]["lr"] = 7.0
    train(net, opt)
    torch.testing.assert_close(twin.state_dict()["state"], saved["state"], rtol=0, atol=0)
    assert twin.state_dict()["steepest"] == saved["steepest"]
    assert twin.param_groups[0]["lr"] == 1e-3


def test_parameters_of_a_compiled_model() -> None:
    net, twin = model(), model()
    compiled: Any = torch.compile(net, backend="eager")
    train(compiled, AdamW(compiled.named_parameters()))
    train(twin, AdamW(twin.parameters()))
    assert same(net, twin)


def test_an_averaged_model() -> None:
    net, twin = model(), model()
    for one, cls in ((net, AdamW), (twin, torch.optim.AdamW)):
        opt = cls(one.parameters(), lr=0.1)
        averaged = torch.optim.swa_utils.AveragedModel(one)
        scheduler = torch.optim.swa_utils.SWALR(opt, 0.05, anneal_epochs=2)
        for _ in range(4):
            train(one, opt, 1)
            averaged.update_parameters(one)
            scheduler.step()
        opt.load_state_dict(opt.state_dict())  # with the scheduler's own keys in the groups
        one.load_state_dict(averaged.module.state_dict())
    torch.testing.assert_close(list(net.parameters()), list(twin.parameters()))


@pytest.mark.parametrize("cls", [AdamW, Lion, NAdam, SGD])
def test_distributed_checkpoints_in_one_process(cls: Any) -> None:
    net, twin = model(), model()
    opt, other = (cls([{"params": m[0].parameters()}, {"params": m[2].parameters(), "lr": 0.3}]) for m in (net, twin))
    train(net, opt)
    twin.load_state_dict(net.state_dict())
    set_optimizer_state_dict(twin, other, get_optimizer_state_dict(net, opt))
    train(net, opt), train(twin, other)
    assert same(net, twin)
    assert other.steps == opt.steps == 6


def test_parameters_without_memory() -> None:
    net = model().to("meta")
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    AdamW(net.named_parameters()).step()  # nothing to do
    with pytest.raises(RuntimeError, match=r"'0.weight' has no values.*model.to_empty"):
        AdamW(net.named_parameters(), clip_norm=1.0).step()
