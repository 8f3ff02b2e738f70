"""A partition of rules is one rule."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from steepest.core.piece import ArgumentError
from steepest.strategy import parse
from steepest.strategy.front import adamw, clip_norm, lion, nonfinite, partition, sgd


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Flatten(), nn.Linear(12, 2)).double()


def train(net: nn.Module, optimizers: list[torch.optim.Optimizer], steps: int = 5) -> list[torch.Tensor]:
    tokens = torch.arange(21).reshape(7, 3) % 7
    for _ in range(steps):
        net.zero_grad()
        (net(tokens) ** 2).sum().backward()
        for opt in optimizers:
            opt.step()
    return [p.detach() for p in net.parameters()]


def test_it_is_as_good_as_an_optimizer_for_each_part() -> None:
    s = partition(matrix=lion(1e-2), embedding=sgd(0.1, momentum=0.9), rest=adamw(1e-2, weight_decay=0.1))
    together = model()
    apart = model()
    matrices = [p for m in apart if isinstance(m, nn.Linear) for p in [m.weight]]
    rest = [p for name, p in apart.named_parameters() if p.ndim == 1]
    torch.testing.assert_close(
        train(together, [s.optimizer(together)]),
        train(
            apart,
            [
                lion(1e-2).optimizer(matrices),
                sgd(0.1, momentum=0.9).optimizer([apart[0].weight]),  # type: ignore[arg-type]
                torch.optim.AdamW(rest, lr=1e-2, weight_decay=0.0),
            ],
        ),
        rtol=1e-12,
        atol=1e-14,
    )


def test_gradient_pieces_see_the_whole_model() -> None:
    net = model()
    opt = (partition(matrix=lion(1e-2), rest=adamw(1e-2)) | clip_norm(0.1)).optimizer(net)
    train(net, [opt], steps=1)
    other = model()
    (other(torch.arange(21).reshape(7, 3) % 7) ** 2).sum().backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in other.parameters() if p.grad is not None])
    assert opt.metrics["grad_norm"] == pytest.approx(float(norm), rel=1e-12)


def test_groups_have_names() -> None:
    opt = partition(matrix=lion(weight_decay=0.1), rest=adamw()).optimizer(model())
    assert {
        group["name"]: (group["method"], len(group["params"]), group["weight_decay"]) for group in opt.param_groups
    } == {
        "matrix/decay": ("lion", 2, 0.1),
        "rest/decay": ("adamw", 1, 0.01),
        "rest/no_decay": ("adamw", 4, 0.0),
    }


def test_one_rule_twice_with_its_own_numbers() -> None:
    opt = parse("partition(matrix=adamw(lr=0.5), rest=adamw(lr=0.25))").optimizer(model())
    assert {(group["name"].partition("/")[0], group["lr"]) for group in opt.param_groups} == {
        ("matrix", 0.5),
        ("rest", 0.25),
    }


def test_a_parameter_that_matches_nothing() -> None:
    with pytest.raises(ValueError, match=r"'0\.weight' \(embedding, shape \(7, 4\)\) belongs to no group.*rest="):
        partition(matrix=lion()).optimizer(model())


def test_what_is_no_rule_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"rest takes a rule such as adamw\(lr=0.001\), got nonfinite\(\)"):
        partition(rest=nonfinite())
    with pytest.raises(ArgumentError, match="rest takes a rule"):
        partition(rest=partition(rest=adamw()))
    with pytest.raises(ArgumentError, match="Did you mean 'matrix'"):
        partition(matrx=adamw())  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match="at least one"):
        partition()
