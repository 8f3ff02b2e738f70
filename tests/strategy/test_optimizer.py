"""From a strategy to an optimizer: groups, schedules, guards, errors, resuming."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steepest.core.errors import HyperparameterError, NonFiniteError, SteepestError
from steepest.optim import AdamW
from steepest.strategy import Strategy, StrategyError, parse
from steepest.strategy.front import (
    adam,
    adamw,
    clip_norm,
    clip_value,
    cosine,
    decay_all,
    linear,
    nonfinite,
    plateau,
    sgd,
    step,
    warmup_cosine,
)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 2, 2), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(6, 1)).double()


X = torch.randn(16, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def run(net: nn.Module, opt: torch.optim.Optimizer, steps: int) -> list[dict[str, Any]]:
    """Some steps on one batch; what the groups said after each."""
    seen = []
    for _ in range(steps):
        opt.zero_grad()
        (net(X) - X.sum(-1)).pow(2).mean().backward()
        opt.step()
        seen.append({**opt.param_groups[0], "params": None})
    return seen


def groups(s: Strategy, source: Any, **kwargs: Any) -> dict[str, tuple[float, int]]:
    opt = s.optimizer(source, **kwargs)
    return {g["name"]: (g["weight_decay"], len(g["params"])) for g in opt.param_groups}


def test_decay_spares_biases_and_normalisation() -> None:
    net = model()
    s = adamw(weight_decay=0.1)
    assert groups(s, net) == {"decay": (0.1, 2), "no_decay": (0.0, 4)}
    assert groups(s, dict(net.named_parameters())) == groups(s, net.named_parameters()) == groups(s, net)
    assert groups(s, net.parameters()) == groups(s, list(net.parameters())) == groups(s, net)
    assert groups(s | decay_all(), net) == {"decay": (0.1, 6)}
    assert groups(adamw(weight_decay=0.0), net) == {"decay": (0.0, 6)}


def test_decayed_and_spared_parameters_move_as_they_should() -> None:
    net = model()
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    opt = sgd(lr=0.5, weight_decay=0.1).optimizer(net)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    opt.step()
    for n, p in net.named_parameters():
        torch.testing.assert_close(p.detach(), before[n] * (0.95 if p.ndim > 1 else 1.0))


def test_parameters_keep_their_names_where_there_are_any() -> None:
    opt = adamw().optimizer(model())
    assert [n for g in opt.param_groups for n in g["param_names"]] == [
        "0.weight", "3.weight", "0.bias", "1.weight", "1.bias", "3.bias",
    ]  # fmt: skip
    assert all("param_names" not in g for g in adamw().optimizer(model().parameters()).param_groups)


def test_groups_of_ones_own() -> None:
    net = model()
    s = adamw(lr=1e-3, weight_decay=0.1) | linear(end=0.0)
    given = [
        {"params": net[0].parameters(), "lr": 1e-5, "name": "backbone"},
        {"params": [*net[1].parameters(), *net[3].parameters()], "weight_decay": 0.5},
    ]
    opt = s.optimizer(given, steps=10)
    assert [(g["name"], g["lr"], g["weight_decay"], len(g["params"])) for g in opt.param_groups] == [
        ("backbone/decay", 1e-5, 0.1, 1),
        ("backbone/no_decay", 1e-5, 0.0, 1),
        ("group 1/decay", 1e-3, 0.5, 1),
        ("group 1/no_decay", 1e-3, 0.0, 3),
    ]
    run(net, opt, 6)
    assert opt.param_groups[0]["lr"] == pytest.approx(0.5e-5)
    assert opt.param_groups[2]["lr"] == pytest.approx(0.5e-3)
    single = model()[3].weight
    assert len(s.optimizer([{"params": single}], steps=10).param_groups[0]["params"]) == 1
    with pytest.raises(TypeError, match=r"'lrr'.*Did you mean 'lr'"):
        s.optimizer([{"params": net.parameters(), "lrr": 1.0}], steps=10)


MOVED = {
    "sgd(lr=1e-3, momentum=0.5) | step(2, 0.5)": lambda opt: opt.param_groups[0]["lr"] / 1e-3,
    "sgd(lr=0.0, momentum=0.8) | step(2, 0.5, on='momentum')": lambda opt: opt.param_groups[0]["momentum"] / 0.8,
    "adamw(weight_decay=0.2) | step(2, 0.5, on='weight_decay')": lambda opt: opt.param_groups[0]["weight_decay"] / 0.2,
    "adamw(betas=(0.8, 0.9)) | step(2, 0.5, on='beta1')": lambda opt: opt.param_groups[0]["betas"][0] / 0.8,
    "adamw(betas=(0.8, 0.9)) | step(2, 0.5, on='beta2')": lambda opt: opt.param_groups[0]["betas"][1] / 0.9,
    "sgd(lr=0.0) | clip_norm(0.25) | step(2, 0.5, on='max_norm')": lambda opt: (
        opt.metrics["clip_factor"] * opt.metrics["grad_norm"] / 0.25
    ),
}


@pytest.mark.parametrize("text", MOVED)
def test_a_schedule_moves_any_hyperparameter(text: str) -> None:
    net = model()
    opt = parse(text).optimizer(net)
    seen = []
    for _ in range(6):
        run(net, opt, 1)
        seen.append(MOVED[text](opt))
    assert seen == pytest.approx([1.0, 1.0, 0.5, 0.5, 0.25, 0.25], rel=1e-4 if "clip" in text else 1e-12)


def test_the_scheduled_number_is_the_one_that_acts() -> None:
    ours, theirs = model(), model()
    opt = (sgd(0.1, momentum=0.9) | step(3, 0.5, on="momentum") | step(2, 0.5)).optimizer(ours)
    torch_opt = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for t in range(9):
        torch_opt.param_groups[0].update(lr=0.1 * 0.5 ** (t // 2), momentum=0.9 * 0.5 ** (t // 3))
        run(ours, opt, 1)
        run(theirs, torch_opt, 1)
        torch.testing.assert_close(list(ours.parameters()), list(theirs.parameters()), rtol=1e-12, atol=1e-14)


def test_clipping_in_the_written_order() -> None:
    def moved(s: Strategy) -> Tensor:
        p = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        p.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
        s.optimizer([p]).step()
        return -p.detach()

    torch.testing.assert_close(
        moved(sgd(1.0) | clip_norm(1.0) | clip_value(0.7)), torch.tensor([0.6, 0.7]).double(), rtol=1e-5, atol=0
    )
    direction = torch.tensor([0.7, 0.7]).double()
    torch.testing.assert_close(
        moved(sgd(1.0) | clip_value(0.7) | clip_norm(0.5)), direction / direction.norm() * 0.5, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    "text", ["", "| clip_norm(1)", "| clip_value(1) | clip_norm(1)", "| clip_norm(1) | clip_norm(0.1)"]
)
def test_the_norm_that_is_logged_is_that_before_all_pieces(text: str) -> None:
    p = torch.zeros(2, requires_grad=True)
    p.grad = torch.tensor([3.0, 4.0])
    opt = parse(f"sgd {text}").optimizer([p])
    opt.step()
    assert opt.metrics["grad_norm"] == pytest.approx(5.0)


CLIPS = {
    "clip_norm(0.5)": lambda ps: torch.nn.utils.clip_grad_norm_(ps, 0.5),
    "clip_value(0.05)": lambda ps: torch.nn.utils.clip_grad_value_(ps, 0.05),
    "clip_param_norm(0.1)": lambda ps: [torch.nn.utils.clip_grad_norm_([p], 0.1) for p in ps],
    "clip_value(0.05) | clip_norm(0.1)": lambda ps: [
        torch.nn.utils.clip_grad_value_(ps, 0.05),
        torch.nn.utils.clip_grad_norm_(ps, 0.1),
    ],
}


@pytest.mark.parametrize("text", CLIPS)
@pytest.mark.parametrize("executor", ["reference", "blocked", "auto"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_clipping_inside_the_step_equals_torch_before_it(text: str, executor: Any, dtype: torch.dtype) -> None:
    ours, theirs = model().to(dtype), model().to(dtype)
    opt = parse(f"adamw(lr=0.01) | {text}").optimizer(ours, executor=executor)
    torch_opt = (adamw(lr=0.01)).optimizer(theirs, executor="reference")
    for _ in range(5):
        for net, o, clip in ((ours, opt, None), (theirs, torch_opt, CLIPS[text])):
            net.zero_grad()
            (net(X.to(dtype)) - X.to(dtype).sum(-1)).pow(2).mean().backward()
            if clip is not None:
                clip(list(net.parameters()))
            o.step()
        weights = [
            (a, b) for (n, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True) if n != "0.bias"
        ]
        for a, b in weights:  # a bias before batch norm has a gradient of rounding errors alone
            torch.testing.assert_close(
                a, b, **({"rtol": 1e-9, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5})
            )


def broken(net: nn.Module, value: float = math.nan) -> None:
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    net.get_parameter("3.weight").grad[0, 2] = value  # type: ignore[index]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("extra", ["", " | clip_norm(1.0)", " | clip_value(1.0)", " | clip_param_norm(1.0)"])
def test_a_gradient_that_is_not_finite_is_skipped_counted_and_said_once(value: float, extra: str) -> None:
    net = model()
    opt = parse(f"adamw{extra} | step(1, 0.5)").optimizer(net)
    run(net, opt, 2)
    lr = opt.param_groups[0]["lr"]
    kept = copy.deepcopy([p.detach() for p in net.parameters()]), copy.deepcopy(opt.state_dict()["state"])
    broken(net, value)
    with pytest.warns(RuntimeWarning, match="step 3 was skipped: the gradient of '3.weight' is not finite"):
        opt.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opt.step()
    assert (opt.steps, opt.skipped_steps, opt.metrics["skipped"]) == (2, 2, 1.0)
    assert not math.isfinite(opt.metrics["grad_norm"])
    torch.testing.assert_close([p.detach() for p in net.parameters()], kept[0], rtol=0, atol=0)
    torch.testing.assert_close(opt.state_dict()["state"], kept[1], rtol=0, atol=0)
    run(net, opt, 1)
    assert (opt.steps, opt.param_groups[0]["lr"]) == (3, lr / 2)


def test_or_it_stops_or_it_passes() -> None:
    net = model()
    opt = (adamw() | nonfinite("raise")).optimizer(net)
    broken(net)
    kept = copy.deepcopy(net.state_dict())
    with pytest.raises(NonFiniteError, match=r"step 1: the gradient of '3\.weight' is not finite"):
        opt.step()
    torch.testing.assert_close(dict(net.state_dict()), dict(kept))
    opt = (sgd(0.1) | nonfinite("pass") | clip_norm(1.0)).optimizer(net)
    broken(net)
    opt.step()
    assert all(p.isnan().all() for p in net.parameters())  # as clip_grad_norm_ and torch.optim.SGD would
    assert opt.skipped_steps == 0


@pytest.mark.parametrize(
    ("text", "length", "says"),
    [
        ("adamw | cosine", {}, r"cosine needs the length of training.*strategy\.optimizer\(model, steps="),
        ("adamw | warmup_cosine(10)", {}, "needs the length of training"),
        ("adamw | step(0.25)", {}, "step needs the length of training"),
        ("adamw | step('2 epochs')", {"steps": 100}, "steps_per_epoch="),
        ("adamw | step(2, by='epoch')", {"steps": 100}, "steps_per_epoch="),
        ("adamw | cosine", {"steps": 0}, "at least 1"),
        ("adamw | cosine", {"steps": 1.5}, "number of steps"),
    ],
)
def test_a_length_that_is_missing_is_asked_for_at_once(text: str, length: dict[str, Any], says: str) -> None:
    with pytest.raises(HyperparameterError, match=says):
        parse(text).optimizer(model(), **length)


def test_epochs() -> None:
    opt = parse("adamw(lr=1.0) | step('2 epochs', 0.5) | step(4, 0.1, by='epoch')").optimizer(
        model(), steps_per_epoch=3
    )
    assert opt.scheduler is not None
    assert [opt.scheduler.factors(t)["lr"] for t in (0, 5, 6, 11, 12)] == pytest.approx([1, 1, 0.5, 0.5, 0.025])


def test_training_may_go_on_beyond_its_length() -> None:
    net = model()
    seen = run(net, (sgd(1e-3) | warmup_cosine(2, end=0.1)).optimizer(net, steps=5), 8)
    assert [round(g["lr"], 6) for g in seen[-3:]] == [1e-4] * 3


def test_no_parameters() -> None:
    with pytest.raises(ValueError, match="no parameters"):
        adamw().optimizer(nn.ReLU())
    with pytest.raises(ValueError, match="no parameters"):
        adamw().optimizer([])
    with pytest.raises(TypeError, match="in a list"):
        adamw().optimizer(torch.zeros(2, requires_grad=True))
    with pytest.raises(StrategyError, match="no rule"):
        clip_norm(1.0).optimizer(model())


def test_a_run_that_was_resumed_ends_as_one_that_was_not() -> None:
    s = parse("adam(lr=0.01) | cosine | plateau(gamma=0.5, patience=0) | clip_norm(0.1) | step(5, 0.5, on='max_norm')")
    whole, opt = model(), None
    opt = s.optimizer(whole, steps=20)
    values = [1.0, 2.0, 0.5, 3.0]
    for v in values:
        run(whole, opt, 4)
        opt.observe(v)
    first = model()
    opt_1 = s.optimizer(first, steps=20)
    for v in values[:2]:
        run(first, opt_1, 4)
        opt_1.observe(v)
    saved = copy.deepcopy((first.state_dict(), opt_1.state_dict()))
    second = model()
    opt_2 = s.optimizer(second, steps=20)
    second.load_state_dict(saved[0])
    opt_2.load_state_dict(saved[1])
    for v in values[2:]:
        run(second, opt_2, 4)
        opt_2.observe(v)
    torch.testing.assert_close(dict(second.state_dict()), dict(whole.state_dict()), rtol=0, atol=0)
    assert opt_2.param_groups[0]["lr"] == opt.param_groups[0]["lr"]
    assert opt_2.state_dict()["steepest"] == opt.state_dict()["steepest"]


def test_two_optimizers_of_one_strategy_share_nothing() -> None:
    s = adam(0.1) | plateau(gamma=0.5, patience=0) | clip_norm(1.0) | step(1, 0.5, on="max_norm")
    one, other = s.optimizer(model()), s.optimizer(model())
    for loss in (1.0, 2.0):
        one.observe(loss)
    net = model()
    run(net, s.optimizer(net), 3)
    assert other.scheduler is not None
    assert other.scheduler.factors(0)["lr"] == 1.0
    assert s == adam(0.1) | plateau(gamma=0.5, patience=0) | clip_norm(1.0) | step(1, 0.5, on="max_norm")


def test_schedules_and_cosine_share_the_length() -> None:
    opt = (adamw(lr=1.0) | cosine()).optimizer(model(), steps=4)
    assert opt.scheduler is not None
    assert [opt.scheduler.factors(t)["lr"] for t in range(5)] == pytest.approx(
        [1.0, 0.853553, 0.5, 0.146447, 0.0], abs=1e-6
    )


@pytest.mark.parametrize("source", [None, 3])
def test_what_holds_no_parameters_is_refused_by_name(source: Any) -> None:
    with pytest.raises(TypeError, match=f"an optimizer takes a model or its parameters; given {source}"):
        adamw().optimizer(source)


def test_a_group_shows_the_values_of_the_newest_step() -> None:
    net = model()
    opt = (sgd(0.1) | step(2, 0.5)).optimizer(net)
    assert [opt.param_groups[0]["lr"], *(g["lr"] for g in run(net, opt, 4))] == [0.1, 0.1, 0.1, 0.05, 0.05]
    assert opt.param_groups[0]["initial_lr"] == 0.1


def test_a_value_set_by_hand_holds_for_one_step_and_a_base_value_for_all() -> None:
    net = model()
    opt = (adamw(lr=0.1, betas=(0.8, 0.9)) | step(2, 0.5) | step(2, 0.5, on="beta1")).optimizer(net)
    run(net, opt, 2)
    opt.param_groups[0].update(lr=0.7, betas=(0.3, 0.9))
    seen = run(net, opt, 2)
    assert [(g["lr"], g["betas"][0]) for g in seen] == [(0.7, 0.3), (0.05, 0.4)]
    opt.param_groups[0]["initial_lr"] = 0.2
    assert run(net, opt, 1)[0]["lr"] == 0.05


def test_torchs_distributed_checkpoints_leave_the_model_alone() -> None:
    """They bring state into being by a step with a learning rate of zero."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    s = adamw(lr=0.1) | linear(end=0.0) | clip_norm(1.0)
    net, twin = model(), model()
    opt, other = s.optimizer(net, steps=10), s.optimizer(twin, steps=10)
    run(net, opt, 3)
    twin.load_state_dict(net.state_dict())
    set_optimizer_state_dict(twin, other, get_optimizer_state_dict(net, opt))
    torch.testing.assert_close(list(twin.parameters()), list(net.parameters()), rtol=0, atol=0)
    assert run(twin, other, 3)[-1]["lr"] == run(net, opt, 3)[-1]["lr"]
    torch.testing.assert_close(list(twin.parameters()), list(net.parameters()), rtol=0, atol=0)


def test_saved_base_values_win_over_those_the_optimizer_was_made_with() -> None:
    schedules = "step(1, 0.5, on='max_norm') | step(1, 0.5)"
    net = model()
    opt = parse(f"sgd(lr=0.1) | clip_norm(4) | {schedules}").optimizer(net)
    other = parse(f"sgd(lr=0.9) | clip_norm(40) | {schedules}").optimizer(net)
    run(net, opt, 2)
    other.load_state_dict(opt.state_dict())
    run(net, opt, 1), run(net, other, 1)
    assert other.param_groups[0]["lr"] == opt.param_groups[0]["lr"] == 0.1 / 4
    assert other.gradients[-1][1] == opt.gradients[-1][1] == {"max_norm": 1.0}


def test_a_group_added_to_several_methods_has_what_its_method_has() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    opt = parse("muon(rest=adamw(lr=3e-4, betas=(0.8, 0.9))) | cosine").optimizer(model, steps=10)
    q = nn.Parameter(torch.ones(3))
    with pytest.raises(TypeError, match=r"adamw has to say its 'weight_decay' \(its groups have 0.0, 0.01\)"):
        opt.add_param_group({"params": [("q", q)], "method": "adamw"})
    for p in (*model.parameters(), q):
        p.grad = torch.ones_like(p)
    for _ in range(5):
        opt.step()
    opt.add_param_group({"params": [("q", q)], "method": "adamw", "weight_decay": 0.0})
    opt.step()
    made = opt.param_groups[-1]
    assert (made["initial_lr"], made["betas"], made["lr"]) == (3e-4, (0.8, 0.9), opt.param_groups[1]["lr"])
    assert bool((q < 1).all())


@pytest.mark.parametrize(("saved", "loaded"), [("zclip(alpha=0.5)", "autoclip"), ("zclip", "agc | autoclip")])
def test_what_another_gradient_piece_remembered_is_not_taken_over(saved: str, loaded: str) -> None:
    def made(text: str) -> tuple[nn.Parameter, Any]:
        p = nn.Parameter(torch.ones(3, 2))
        return p, parse(f"sgd(lr=0.1) | {text}").optimizer([p])

    p, opt = made(saved)
    p.grad = torch.ones_like(p)
    opt.step()
    q, other = made(loaded)
    r, fresh = made(loaded)
    other.load_state_dict(opt.state_dict())
    for _ in range(3):
        q.grad, r.grad = torch.ones_like(q), torch.ones_like(r)
        other.step()
        fresh.step()
    assert torch.equal(q, r)


def test_arguments_of_another_piece_are_not_taken_over() -> None:
    """Both have an ``alpha``, which means another thing in each."""
    p = nn.Parameter(torch.ones(3))
    opt = parse("sgd(lr=0.1, momentum=0.9) | lookahead(alpha=0.5)").optimizer([p])
    other = parse("sgd(lr=0.1, momentum=0.9) | gsam(alpha=0.1)").optimizer([p])
    other.load_state_dict(opt.state_dict())
    assert other.wrappers[0][1]["alpha"] == 0.1


# -- clear refusals ----------------------------------------------------------------------------------------------------


def test_a_scheduler_of_torch_beside_the_strategys_own() -> None:
    net = nn.Linear(3, 3)
    opt = parse("adamw | cosine").optimizer(net, steps=10)
    torchs = torch.optim.lr_scheduler.StepLR(opt, 2)
    net(torch.ones(1, 3)).sum().backward()
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(SteepestError, match=r"of the two neither would hold. Leave one away"):
        opt.step()
    assert all(torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))
    del torchs


@pytest.mark.parametrize("text", ["adamw(lr=0.1)", "adamw(lr=0.1) | cosine(on='weight_decay')"])
def test_a_scheduler_of_torch_alone_sets_the_learning_rate(text: str) -> None:
    net = nn.Linear(3, 3)
    opt = parse(text).optimizer(net, steps=10)
    torchs = torch.optim.lr_scheduler.StepLR(opt, 2, gamma=0.1)
    seen = []
    for _ in range(4):
        opt.zero_grad()
        net(torch.ones(1, 3)).sum().backward()
        opt.step()
        seen.append(opt.param_groups[0]["lr"])
        torchs.step()
    assert seen == pytest.approx([0.1, 0.1, 0.01, 0.01])


def test_complex_parameters_are_refused_in_the_name_of_the_piece_that_cannot() -> None:
    p = nn.Parameter(torch.zeros(3, 3, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"^agc works on whole tensors .* complex64. Leave agc away"):
        parse("sgd | agc").optimizer([p])
    with pytest.raises(ValueError, match=r"^soap works on whole tensors .* Route it elsewhere"):
        parse("soap").optimizer([p])


@pytest.mark.parametrize("named", [True, False])
def test_a_group_without_names_where_the_others_have_some(named: bool) -> None:
    net = nn.Linear(3, 3)
    opt = parse("sgd").optimizer(net if named else list(net.parameters()))
    p = nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match="matched by name or by place"):
        opt.add_param_group({"params": [p] if named else [("more", p)]})
    opt.add_param_group({"params": [("more", p)] if named else p})
    assert opt.param_groups[-1]["params"] == [p]


def test_a_hyperparameter_is_one_number() -> None:
    net = nn.Linear(3, 3)
    two = torch.tensor([0.1, 0.2])
    with pytest.raises(HyperparameterError, match=r"lr must be one number, got a Tensor of shape \(2,\)"):
        AdamW(net.parameters(), lr=two)
    opt = AdamW(net.parameters(), lr=torch.tensor([0.1]))
    opt.param_groups[0]["betas"] = (0.9, two)
    net(torch.ones(1, 3)).sum().backward()
    with pytest.raises(HyperparameterError, match="betas must be one number"):
        opt.step()


# -- schedules of one piece's hyperparameter ---------------------------------------------------------------------------


def test_a_name_that_several_pieces_have_is_asked_for() -> None:
    with pytest.raises(StrategyError, match=r"Say whose: on='adamw.eps' or on='trust_ratio.eps'"):
        parse("adamw | trust_ratio | constant(0.5, on='eps')")
    with pytest.raises(StrategyError, match="which no piece of"):
        parse("adamw | sam | cosine(on='adamw.rho')")
    opt = parse("adamw(eps=1e-6) | trust_ratio(eps=1e-2) | constant(0.5, on='trust_ratio.eps')").optimizer(
        nn.Linear(3, 3)
    )
    assert opt.param_groups[0]["eps"] == 1e-6
    assert opt.wrappers[0][1]["eps"] == 5e-3


def test_schedules_of_all_rules_and_of_one_are_multiplied() -> None:
    text = "partition(matrix=lion(lr=0.1), rest=adamw(lr=0.2)) | constant(0.5) | constant(0.1, on='lion.lr')"
    strategy = parse(text)
    assert parse(str(strategy)) == strategy
    opt = strategy.optimizer(nn.Linear(3, 3))
    assert {g["method"]: g["lr"] for g in opt.param_groups} == pytest.approx({"lion": 0.005, "adamw": 0.1})
