"""Recipes: what they stand for, and that they train exactly as torch's own parts put together."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steepest.core.errors import HyperparameterError
from steepest.core.piece import ArgumentError
from steepest.strategy import Strategy, front, names, parse, table
from steepest.strategy.front import clip_norm, cnn, noam, rnn, transformer

RECIPES = names("recipe")
STEPS = 40


def test_the_named_ones_are_there() -> None:
    assert {"cnn", "rnn", "transformer", "noam"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_whole_strategy_under_its_name(name: str) -> None:
    s = parse(name)
    assert s == getattr(front, name)() == parse(f"{name}()") == parse(str(s))
    assert s.check() is s
    assert name not in str(s).split("(")[0]  # it prints as what it stands for
    doc = inspect.getdoc(table()[name].function) or ""
    assert "Source: " in doc
    assert "arXiv:" in doc


@pytest.mark.parametrize("name", sorted(table()))
def test_the_examples_of_every_piece(name: str) -> None:
    """Functions under ``@piece`` are hidden from pytest's own search."""
    function = table()[name].function
    for example in doctest.DocTestFinder().find(function, name, globs=dict(function.__globals__)):
        assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example).failed == 0


def test_recipes_take_arguments_and_go_on() -> None:
    assert parse("cnn(lr=0.05)") == cnn(lr=0.05)
    assert parse("cnn(0.05) | clip_norm(1)") == cnn(0.05) | clip_norm(1.0) == cnn(0.05, clip=1.0)
    assert (
        str(cnn(clip=5))
        == "sgd(lr=0.1, momentum=0.9, weight_decay=0.0005, nesterov=True) | cosine() | clip_norm(max_norm=5.0)"
    )
    with pytest.raises(ArgumentError, match=r"cnn takes no argument 'lrr'\. Did you mean 'lr'"):
        parse("cnn(lrr=0.05)")
    with pytest.raises(HyperparameterError, match=r"lr=-1.0 is outside"):
        parse("cnn(lr=-1)")
    with pytest.raises(ValueError, match="one rule"):
        parse("cnn | adamw")


class Tiny(nn.Module):
    """A convolution, batch norm, an embedding-sized matrix: every kind of parameter that decay treats differently."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 3, 2, bias=False)  # before batch norm a bias has no gradient but rounding
        self.norm = nn.BatchNorm1d(3)
        self.out = nn.Linear(9, 2)
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.conv(x)).tanh().flatten(1)) * self.scale


def losses(seed: int = 0) -> tuple[Tiny, Iterator[Callable[[], Tensor]]]:
    torch.manual_seed(seed)
    model = Tiny().double()
    data = torch.Generator().manual_seed(seed + 1)

    def batches() -> Iterator[Callable[[], Tensor]]:
        while True:
            x = torch.randn(8, 1, 4, dtype=torch.float64, generator=data)
            y = x.flatten(1)[:, :2] * 3

            def loss(x: Tensor = x, y: Tensor = y) -> Tensor:
                return (model(x) - y).pow(2).mean() * 10

            yield loss

    return model, batches()


def decayed(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Groups as one writes them by hand in torch."""
    spared = [p for p in model.parameters() if p.ndim < 2]
    return [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": decay},
        {"params": spared, "weight_decay": 0.0},
    ]


def cnn_in_torch(model: nn.Module) -> tuple[torch.optim.Optimizer, Any, float]:
    opt = torch.optim.SGD(decayed(model, 5e-4), lr=0.01, momentum=0.9, nesterov=True)
    return opt, torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=STEPS), 5.0


def rnn_in_torch(model: nn.Module) -> tuple[torch.optim.Optimizer, Any, float]:
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    return opt, torch.optim.lr_scheduler.StepLR(opt, STEPS // 4, gamma=0.5), 1.0


def transformer_in_torch(model: nn.Module) -> tuple[torch.optim.Optimizer, Any, float]:
    opt = torch.optim.AdamW(decayed(model, 0.01), lr=1e-3, betas=(0.9, 0.98))
    warm = torch.optim.lr_scheduler.LinearLR(opt, start_factor=1 / 4, total_iters=3)  # 1/4, 2/4, 3/4, 4/4
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=STEPS - 4)
    return opt, torch.optim.lr_scheduler.SequentialLR(opt, [warm, fall], milestones=[4]), 1.0


def noam_in_torch(model: nn.Module) -> tuple[torch.optim.Optimizer, Any, float]:
    opt = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    factor = lambda t: 64**-0.5 * min((t + 1) ** -0.5, (t + 1) * 10**-1.5)  # noqa: E731
    return opt, torch.optim.lr_scheduler.LambdaLR(opt, factor), float("inf")


PAIRS = [
    (cnn(lr=0.01, clip=5.0), cnn_in_torch),
    (rnn(), rnn_in_torch),
    (transformer(warmup=0.1), transformer_in_torch),
    (noam(warmup=10, d_model=64), noam_in_torch),
]


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # torch's SequentialLR warns about its own call
@pytest.mark.parametrize(("strategy", "in_torch"), PAIRS, ids=["cnn", "rnn", "transformer", "noam"])
@pytest.mark.parametrize("executor", ["reference", "auto"])
def test_equals_torch_step_by_step(strategy: Strategy, in_torch: Callable[..., Any], executor: Any) -> None:
    ours, batches = losses()
    theirs, their_batches = losses()
    opt = strategy.optimizer(ours, steps=STEPS, executor=executor)
    torch_opt, scheduler, bound = in_torch(theirs)
    clipped = 0
    for step in range(STEPS):
        lr = torch_opt.param_groups[0]["lr"]
        for loss, optimizer in ((next(batches), opt), (next(their_batches), torch_opt)):
            optimizer.zero_grad()
            loss().backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), bound)
        opt.step()
        torch_opt.step()
        scheduler.step()
        clipped += opt.metrics.get("clip_factor", 1.0) < 1.0
        assert opt.metrics["grad_norm"] == pytest.approx(float(norm), rel=1e-9)
        for group in opt.param_groups:
            assert group["lr"] == pytest.approx(lr, rel=1e-9, abs=1e-15), step
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12, msg=lambda m, n=name, s=step: f"{n}, step {s}: {m}")
    if bound < float("inf"):
        assert clipped > 0  # clipping took part


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(name: str) -> None:
    torch.manual_seed(0)
    model = Tiny()
    gentle: dict[str, dict[str, Any]] = {"noam": {"warmup": 20}, "super_convergence": {"lr": 0.05}}
    s = getattr(front, name)(**gentle.get(name, {}))
    steps = 60
    opt = s.optimizer(model, steps=steps)
    x = torch.randn(32, 1, 4)
    before = [p.detach().clone() for p in model.parameters()]
    seen = []
    for _ in range(steps):
        opt.zero_grad()
        loss = (model(x) - x.flatten(1)[:, :2]).pow(2).mean()
        loss.backward()
        opt.step()
        seen.append(loss.item())
    assert opt.steps == steps
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert min(seen[-10:]) < seen[0]
