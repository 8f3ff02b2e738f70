"""torch's marks are left out only where nothing is compiled."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from steepest.core.compiler import unmarked
from steepest.optim import AdamW

MARKED = torch.optim.Optimizer.zero_grad


def test_a_marked_method_stays_marked_where_the_compiler_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo", ModuleType("torch._dynamo"))
    assert unmarked(MARKED) is MARKED


def test_the_unmarked_methods_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    assert unmarked(MARKED) is not MARKED
    p, q = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))
    opt = AdamW([p], lr=0.1)
    opt.add_param_group({"params": [q], "lr": 0.5})
    (p.sum() + q.sum()).backward()
    opt.step()
    opt.zero_grad(set_to_none=False)
    assert torch.equal(p.grad, torch.zeros(2))
    opt.zero_grad()
    assert p.grad is None and q.grad is None
    assert [group["lr"] for group in opt.state_dict()["param_groups"]] == [0.1, 0.5]
