"""L-BFGS in strategies: torch's steps, with schedules, counts and a way back."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steepest.core.lbfgs import LBFGS
from steepest.core.piece import ArgumentError
from steepest.fit import fit
from steepest.strategy import StrategyError, parse

torch.set_num_threads(1)


def rosenbrock(p: Tensor) -> Tensor:
    return 100 * (p[1] - p[0] ** 2) ** 2 + (1 - p[0]) ** 2


def closure(opt: Any, p: Tensor, loss: Any = rosenbrock) -> Any:
    def call() -> Tensor:
        opt.zero_grad()
        value: Tensor = loss(p)
        value.backward()
        return value

    return call


def start() -> nn.Parameter:
    return nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("line_search", ["strong_wolfe", None])
def test_its_steps_are_those_of_torch(line_search: str | None) -> None:
    p, q = start(), start()
    ours = parse(f"lbfgs(lr=0.5, max_iter=3, history_size=4, line_search={line_search!r})").optimizer([p])
    theirs = torch.optim.LBFGS([q], lr=0.5, max_iter=3, history_size=4, line_search_fn=line_search)
    for _ in range(8):
        a, b = ours.step(closure(ours, p)), theirs.step(closure(theirs, q))
        assert torch.equal(p, q) and float(a.detach()) == float(b.detach())
    assert ours.steps == 8
    assert ours.evaluations == theirs.state[q]["func_evals"] > 8


def test_a_schedule_moves_its_learning_rate() -> None:
    p = start()
    opt = parse("lbfgs(lr=0.8, max_iter=1) | linear(end=0.5)").optimizer([p], steps=4)
    seen = []
    for _ in range(4):
        opt.step(closure(opt, p))
        seen.append(opt.param_groups[0]["lr"])
    assert seen == pytest.approx([0.8, 0.7, 0.6, 0.5])


def test_a_step_into_the_void_is_taken_back() -> None:
    p = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    opt = LBFGS([p], lr=1.0, max_iter=2)
    with pytest.warns(RuntimeWarning, match="step 1 was taken back"):
        opt.step(closure(opt, p, lambda p: torch.log(p - 1.0).sum()))  # the gradient is infinite
    assert p.tolist() == [1.0] and opt.skipped_steps == 1 and opt.steps == 0 and not opt.state
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # told once
        opt.step(closure(opt, p, lambda p: torch.log(p - 1.0).sum()))
    assert opt.skipped_steps == 2 and opt.metrics["skipped"] == 1.0


def test_it_goes_on_from_a_checkpoint_bit_for_bit() -> None:
    text = "lbfgs(max_iter=2, history_size=3) | linear"
    p, q = start(), start()
    a, b = (parse(text).optimizer([x], steps=20) for x in (p, q))
    for _ in range(5):
        a.step(closure(a, p))
    buffer = io.BytesIO()
    torch.save(a.state_dict(), buffer)
    buffer.seek(0)
    b.load_state_dict(torch.load(buffer, weights_only=True))
    with torch.no_grad():
        q.copy_(p)
    for _ in range(5):
        a.step(closure(a, p))
        b.step(closure(b, q))
    assert torch.equal(p, q) and a.evaluations == b.evaluations


def test_in_a_run_evaluations_are_counted(tmp_path: Path) -> None:
    run = fit("rosenbrock", "lbfgs(max_iter=4)", steps=10, out=tmp_path, progress=False)
    assert run.status == "finished"
    assert run.result["gradient_evaluations"] > 10
    assert run.validation["loss"] is not None and run.validation["loss"] < 1e-4


@pytest.mark.parametrize("piece", ["clip_norm(1.0)", "ema(0.9)", "decay_all"])
def test_pieces_that_it_cannot_run_are_refused(piece: str) -> None:
    with pytest.raises(ValueError, match="lbfgs makes its steps from several gradients"):
        parse(f"lbfgs() | {piece}").optimizer([start()])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_iter must be a number in \[1, inf\), got 0"):
        parse("lbfgs(max_iter=0)")
    with pytest.raises(ValueError, match="line_search must be"):
        parse("lbfgs(line_search='wolfe')")
    p = start()
    with pytest.raises(TypeError, match=r"call step\(closure\)"):
        parse("lbfgs()").optimizer([p]).step()
    with pytest.raises(ArgumentError, match="matrix takes a rule such as adamw"):
        parse("partition(matrix=lbfgs(), rest=adamw())").optimizer(nn.Linear(2, 2))


def test_it_has_its_own_guard_and_no_other() -> None:
    assert parse("lbfgs | nonfinite").optimizer(nn.Linear(2, 1), steps=3)
    with pytest.raises(StrategyError, match=r"cannot run nonfinite\(action='raise'\)\. Leave it out"):
        parse("lbfgs | nonfinite('raise')")
