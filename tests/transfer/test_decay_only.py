"""Weight decay on parts of a model alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from steepest.core.errors import HyperparameterError
from steepest.strategy import parse
from steepest.transfer.layers import DepthError, PartError


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1)).double()


def decays(text: str) -> dict[str, float]:
    groups = parse(text).optimizer(model()).param_groups
    return {name: group["weight_decay"] for group in groups for name in group["param_names"]}


def test_only_weights_in_the_parts_decay() -> None:
    assert decays("adamw(weight_decay=0.1) | decay_only('layer 0')") == {
        "0.weight": 0.1, "0.bias": 0.0, "2.weight": 0.0, "2.bias": 0.0, "3.weight": 0.0, "3.bias": 0.0,
        "4.weight": 0.0, "4.bias": 0.0,
    }  # fmt: skip
    found = decays("adamw(weight_decay=0.1) | decay_only('head', '2')")
    assert [name for name, decay in found.items() if decay] == ["2.weight", "4.weight"]


def test_with_decay_all_the_biases_of_the_part_decay_too() -> None:
    found = decays("adamw(weight_decay=0.1) | decay_only('layer 0') | decay_all")
    assert [name for name, decay in found.items() if decay] == ["0.weight", "0.bias"]


def test_a_step_is_that_of_torch_with_such_groups() -> None:
    ours, theirs = model(), model()
    opt = parse("adam(lr=0.01, weight_decay=0.05) | decay_only('layer 0')").optimizer(ours)
    first = theirs[0].weight
    rest = [p for p in theirs.parameters() if p is not first]
    peer = torch.optim.Adam([{"params": [first], "weight_decay": 0.05}, {"params": rest}], lr=0.01)
    x = torch.randn(8, 3, dtype=torch.float64)
    for _ in range(20):
        for net, o in ((ours, opt), (theirs, peer)):
            o.zero_grad()
            (net(x) - 1).square().mean().backward()
            o.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_it_goes_with_layer_rates_and_prints_as_written() -> None:
    text = "adamw(weight_decay=0.1) | decay_only('layer 0') | layer_decay(decay=0.5)"
    assert str(parse(text)) == text
    groups = parse(text).optimizer(model()).param_groups
    found = {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["param_names"]}
    assert found["0.weight"] == (pytest.approx(1e-3 * 0.5**3), 0.1) and found["4.weight"] == (1e-3, 0.0)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(DepthError, match="says where weight decay acts, and adamw has none"):
        decays("adamw(weight_decay=0) | decay_only('layer 0')")
    with pytest.raises(DepthError, match="pass the model"):
        parse("adamw | decay_only('layer 0')").optimizer(model().parameters())
    with pytest.raises(PartError, match="no part 'body'"):
        decays("adamw | decay_only('body')")
    with pytest.raises(HyperparameterError, match="takes parts of the model by name"):
        parse("adamw | decay_only()")
