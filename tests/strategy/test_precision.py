"""A precision serves every rule and whatever stands around it: a resumed run goes on bit for bit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import steepest as st
from steepest.core.precision import PrecisionError
from steepest.core.records import read_json
from steepest.strategy import Strategy, StrategyError, table

torch.set_num_threads(1)

NEEDED: dict[str, dict[str, Any]] = {
    "skip_large": {"skip_norm": 100.0},
    "partition": {"matrix": st.lion(lr=1e-4), "rest": st.adamw(lr=1e-3)},
}
RULES = sorted(name for name, kind in table().items() if kind.role == "rule")
AROUND = sorted(name for name, kind in table().items() if kind.role in ("wrapper", "gradient"))
X = torch.randn(32, 8, generator=torch.Generator().manual_seed(1)).bfloat16()
Y = torch.randn(32, 4, generator=torch.Generator().manual_seed(2)).bfloat16()


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 4)).bfloat16()


def train(net: nn.Module, opt: Any, steps: int) -> list[torch.Tensor]:
    for _ in range(steps):

        def closure() -> torch.Tensor:
            opt.zero_grad()
            loss = (net(X) - Y).float().square().mean()
            loss.backward()
            return loss

        opt.step(closure)
    return [p.detach().clone() for p in net.parameters()]


def goes_on(strategy: Strategy, precision: str) -> None:
    net, twin = model(), model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opt, resumed = (strategy.optimizer(m, steps=20, precision=precision, executor="blocked") for m in (net, twin))
        train(net, opt, 4)
        twin.load_state_dict(net.state_dict())
        resumed.load_state_dict(opt.state_dict())
        whole, rest = train(net, opt, 3), train(twin, resumed, 3)
    assert all(p.isfinite().all() for p in whole)
    assert all(torch.equal(a, b) for a, b in zip(whole, rest, strict=True))


@pytest.mark.parametrize("precision", ["compact", "stochastic"])
@pytest.mark.parametrize("name", AROUND)
def test_wrappers_and_gradient_pieces(name: str, precision: str) -> None:
    goes_on(st.adamw(lr=1e-3) | getattr(st, name)(**NEEDED.get(name, {})), precision)


@pytest.mark.parametrize("name", RULES)
def test_rules(name: str) -> None:
    strategy = getattr(st, name)(**NEEDED.get(name, {}))
    if name == "lbfgs":
        with pytest.raises(PrecisionError, match=f"{name} keeps its own state; use precision='same'"):
            strategy.optimizer(model(), precision="compact")
    else:
        goes_on(strategy, "compact")


def test_weights_to_evaluate() -> None:
    """An average of weights is kept in float32, so that what is evaluated is not rounded twice."""
    net = model()
    opt = (st.adamw(lr=1e-2) | st.ema(0.9)).optimizer(net, precision="compact")
    train(net, opt, 5)
    name = next(iter(net.parameters()))
    assert opt.state[name]["average"].dtype == torch.float32
    with opt.evaluating():
        averaged = name.detach().clone()
    assert torch.equal(averaged, opt.state[name]["average"].bfloat16())
    assert not torch.equal(averaged, name)


# -- as a piece of a strategy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["same", "float32_state", "kahan", "stochastic", "8bit", "compact"])
def test_a_name_of_the_text_is_that_of_the_argument(name: str) -> None:
    strategy = st.parse(f'adamw | precision("{name}")')
    assert st.parse(str(strategy)) == strategy
    made, given = strategy.optimizer(model()), st.adamw().optimizer(model(), precision=name)
    assert made.precision == given.precision
    nets = []
    for text, precision in ((str(strategy), None), ("adamw", name)):
        net = model()
        train(net, st.parse(text).optimizer(net, precision=precision), 3)
        nets.append(list(net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*nets, strict=True))


def test_a_precision_is_said_once() -> None:
    strategy = st.parse('adamw | precision("8bit")')
    assert strategy.optimizer(model(), precision="8bit").precision == strategy.optimizer(model()).precision
    with pytest.raises(PrecisionError, match=r"says precision\(kept='8bit'\), and precision='kahan' was given"):
        strategy.optimizer(model(), precision="kahan")
    with pytest.raises(StrategyError, match="one precision is enough"):
        strategy | st.precision("kahan")
    with pytest.raises(StrategyError, match=r"lbfgs .* cannot run precision"):
        st.parse("lbfgs | precision('8bit')")
    with pytest.raises(PrecisionError, match="says state and rounding already"):
        st.precision("8bit", state="float32")


def test_two_precisions_are_two_strategies_of_a_comparison(tmp_path: Path) -> None:
    texts = ["adamw(lr=1e-3)", 'adamw(lr=1e-3) | precision("8bit")']
    runs = [st.fit("digits-mlp", text, steps=20, progress=False, out=tmp_path / f"{i}") for i, text in enumerate(texts)]
    assert [read_json(tmp_path / f"{i}" / "run.json")["strategy"] for i in range(2)] == [
        "adamw()",
        "adamw() | precision(kept='8bit')",
    ]
    losses = [run.validation["loss"] for run in runs]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.02)
