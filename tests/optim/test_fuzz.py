"""Random parameters, rules, settings and accidents: as torch.optim in float64, and every executor alike bit for bit."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from torch import Tensor, nn

from steepest import optim

CHOICES: dict[str, dict[str, list[Any]]] = {
    "SGD": {"momentum": [0.0, 0.9], "weight_decay": [0.0, 0.1], "dampening": [0.0, 0.3], "nesterov": [False, True]},
    "Adagrad": {"lr_decay": [0.0, 0.1], "weight_decay": [0.0, 0.1], "initial_accumulator_value": [0.0, 0.5]},
    "RMSprop": {"alpha": [0.9], "momentum": [0.0, 0.9], "centered": [False, True], "weight_decay": [0.0, 0.1]},
    "Adadelta": {"rho": [0.5, 0.9], "weight_decay": [0.0, 0.1]},
    "Adam": {"betas": [(0.9, 0.999), (0.0, 0.5)], "amsgrad": [False, True], "weight_decay": [0.0, 0.1]},
    "AdamW": {"betas": [(0.9, 0.999), (0.5, 0.0)], "amsgrad": [False, True], "weight_decay": [0.0, 0.1]},
    "NAdam": {"weight_decay": [0.0, 0.1], "decoupled_weight_decay": [False, True]},
    "RAdam": {"betas": [(0.9, 0.999), (0.9, 0.9)], "weight_decay": [0.0, 0.1], "decoupled_weight_decay": [False, True]},
    "Adamax": {"betas": [(0.9, 0.999), (0.0, 0.5)], "weight_decay": [0.0, 0.1]},
}
STRUCTURE = {"momentum", "dampening", "nesterov", "centered", "amsgrad", "initial_accumulator_value"}
"""What decides a rule's form or first state: one choice for the whole optimizer."""
FORMS = ("0-d", "empty", "one", "matrix", "transposed", "channels_last", "with gaps", "long")
GRADIENTS = ("dense", "none", "zero", "expanded", "transposed", "graph")


def tensor(form: str, seed: int, dtype: torch.dtype) -> Tensor:
    make = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        if not dtype.is_complex:
            return torch.randn(shape, generator=make, dtype=torch.float64).to(dtype)
        return torch.complex(*torch.randn(2, *shape, generator=make, dtype=torch.float64)).to(dtype)

    return {
        "0-d": lambda: random(),
        "empty": lambda: random(0, 3),
        "one": lambda: random(1, 1, 1),
        "matrix": lambda: random(3, 5),
        "transposed": lambda: random(5, 3).t(),
        "channels_last": lambda: random(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        "with gaps": lambda: random(4, 6)[:, ::2],
        "long": lambda: random(301),
    }[form]()


def gradient(p: Tensor, kind: str, seed: int) -> Tensor | None:
    make = torch.Generator().manual_seed(seed)
    real = torch.randn(p.shape, generator=make, dtype=torch.float64)
    g = torch.complex(real, real.flip(-1) if real.ndim else -real).to(p.dtype) if p.is_complex() else real.to(p.dtype)
    if kind == "none":
        return None
    if kind == "zero":
        return torch.zeros_like(g)
    if kind == "expanded" and g.numel():
        return g.reshape(-1)[0].expand(g.shape)
    if kind == "transposed" and g.ndim == 2:
        return g.t().contiguous().t()
    return g.requires_grad_() if kind == "graph" else g


@some.composite
def plans(draw: Any) -> dict[str, Any]:
    """One run: parameters in groups, settings, and what happens at each step."""
    name = draw(some.sampled_from(sorted(CHOICES)))
    pick = {key: draw(some.sampled_from(values)) for key, values in CHOICES[name].items()}
    if pick.get("nesterov"):
        pick.update(momentum=0.9, dampening=0.0)
    forms = draw(some.lists(some.sampled_from(FORMS), min_size=1, max_size=5))
    moving = {key: values for key, values in CHOICES[name].items() if key not in STRUCTURE}
    return {
        "name": name,
        "shared": {"lr": draw(some.sampled_from([0.0, 0.01, 0.3])), "maximize": draw(some.booleans()), **pick},
        "forms": forms,
        "second": draw(some.integers(0, len(forms))),
        "own": {key: draw(some.sampled_from(values)) for key, values in moving.items()},
        "clip": draw(some.sampled_from([None, 0.1, 1.0, 1e9])),
        "reload": draw(some.sampled_from([None, 1, 2, 3])),
        "steps": [
            {
                "gradients": [draw(some.sampled_from(GRADIENTS)) for _ in forms],
                "moved": {"lr": draw(some.sampled_from([0.01, 0.2]))}
                | ({key: draw(some.sampled_from(values)) for key, values in moving.items()} if moving else {}),
            }
            for _ in range(draw(some.integers(3, 6)))
        ],
    }


def run(plan: dict[str, Any], cls: Any, dtype: torch.dtype, *, clip_outside: bool, **more: Any) -> list[Tensor]:
    params = [nn.Parameter(tensor(form, i, dtype)) for i, form in enumerate(plan["forms"])]
    if not clip_outside and plan["clip"] is not None:
        more["clip_norm"] = plan["clip"]

    def make(params: list[Tensor]) -> Any:
        cut = plan["second"]
        groups = [{"params": params[:cut]}, {"params": params[cut:], **plan["own"]}]
        return cls([group for group in groups if group["params"]], **plan["shared"], **more)

    opt = make(params)
    for t, step in enumerate(plan["steps"]):
        if plan["reload"] == t:
            file = io.BytesIO()
            torch.save(opt.state_dict(), file)
            file.seek(0)
            opt = make(params)
            opt.load_state_dict(torch.load(file, weights_only=True))
        for i, (p, kind) in enumerate(zip(params, step["gradients"], strict=True)):
            p.grad = gradient(p, kind, 100 * t + i)
        if clip_outside and plan["clip"] is not None:
            for p in params:  # torch clips in place
                p.grad = None if p.grad is None else p.grad.detach().clone()
            torch.nn.utils.clip_grad_norm_(params, plan["clip"])
        opt.step()
        opt.param_groups[-1].update(copy.copy(step["moved"]))
    return [p.detach() for p in params]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(plans(), some.sampled_from([torch.float64, torch.complex128]))
def test_as_torch(plan: dict[str, Any], dtype: torch.dtype) -> None:
    if dtype.is_complex and plan["name"] in ("Adagrad", "Adamax", "RAdam", "NAdam", "RMSprop", "Adadelta", "SGD"):
        dtype = torch.float64  # of these torch supports complex numbers in some implementations only
    ours = run(plan, getattr(optim, plan["name"]), dtype, clip_outside=False)
    theirs = run(plan, getattr(torch.optim, plan["name"]), dtype, clip_outside=True, foreach=False)
    for a, b in zip(ours, theirs, strict=True):
        # torch keeps NAdam's product of momenta in float32
        close = {"rtol": 1e-6, "atol": 1e-7} if plan["name"] == "NAdam" else {"rtol": 1e-9, "atol": 1e-10}
        torch.testing.assert_close(a, b, **close)


@FUZZ
@given(plans(), some.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64]))
def test_executors_agree(plan: dict[str, Any], dtype: torch.dtype) -> None:
    cls = getattr(optim, plan["name"])
    if dtype == torch.float64:  # the order of a sum shows in its last digit
        plan = {**plan, "clip": None}
    truth = run(plan, cls, dtype, clip_outside=False, executor="reference")
    for executor in ("auto", "blocked"):
        for got, want in zip(run(plan, cls, dtype, clip_outside=False, executor=executor), truth, strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)
