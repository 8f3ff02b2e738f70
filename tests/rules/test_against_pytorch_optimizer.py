"""Adam's relatives that torch.optim lacks, step by step against pytorch_optimizer.

Where the two mean something else by an argument (see *Differs from* in the docstrings), the setting is one at which
they mean the same, and the case says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from steepest.core.piece import Piece
from steepest.rules import adabelief, adan, ademamix, adopt, laprop, qhadam, qhm, signsgd, signum, yogi
from steepest.testing import Descent

peer = pytest.importorskip("pytorch_optimizer")
torch.set_num_threads(1)

STEPS = 30


@dataclass(frozen=True)
class Case:
    """A piece, the class with the same meaning and its arguments; why a tolerance is loose."""

    ours: Piece
    theirs: str
    arguments: dict[str, Any]
    rtol64: float = 1e-12
    rtol32: float = 1e-5
    reason: str = ""


FLOAT32_WEIGHTS = "it keeps the sums of weights in float32"
BOUND = "its bound is one step ahead; without clipping there is none"

CASES = [
    Case(signsgd(0.01), "SignSGD", {"lr": 0.01, "momentum": 0.0}),
    Case(signum(0.01), "SignSGD", {"lr": 0.01}),
    Case(signum(0.01, 0.99, 0.1), "SignSGD", {"lr": 0.01, "momentum": 0.99, "weight_decay": 0.1}),
    Case(adabelief(), "AdaBelief", {}),
    Case(
        adabelief(0.01, (0.8, 0.95), 1e-8, 0.1),
        "AdaBelief",
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-8, "weight_decay": 0.1},
    ),
    Case(laprop(), "LaProp", {}),
    Case(laprop(0.01, (0.95, 0.9)), "LaProp", {"lr": 0.01, "betas": (0.95, 0.9)}),
    Case(
        adopt(0.01, (0.8, 0.95), weight_decay=0.1, clip=False),
        "ADOPT",
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1, "weight_decouple": True, "clip_lambda": None},
        reason=BOUND,
    ),
    Case(adan(), "Adan", {}),
    Case(
        adan(0.01, (0.9, 0.8, 0.95), 1e-6, 0.1),
        "Adan",
        {"lr": 0.01, "betas": (0.9, 0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "weight_decouple": True},
    ),
    Case(ademamix(), "AdEMAMix", {}),
    Case(
        ademamix(0.01, (0.8, 0.95, 0.99), 2.0, weight_decay=0.1, alpha_warmup=20, beta3_warmup=20),
        "AdEMAMix",
        {
            "lr": 0.01,
            "betas": (0.8, 0.95, 0.99),
            "alpha": 2.0,
            "t_alpha_beta3": 20,
            "weight_decay": 0.1,
            "weight_decouple": True,
        },
    ),
    Case(yogi(initial_accumulator_value=0.0), "Yogi", {"initial_accumulator": 0.0}),
    Case(
        yogi(0.1, (0.8, 0.95), 1e-2, 0.1, 0.0),
        "Yogi",
        {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-2, "weight_decay": 0.1, "initial_accumulator": 0.0},
    ),
    Case(qhm(), "QHM", {"lr": 1e-2, "momentum": 0.999, "nu": 0.7}),
    Case(qhm(0.1, 0.9, 0.5, 0.1), "QHM", {"lr": 0.1, "momentum": 0.9, "nu": 0.5, "weight_decay": 0.1}),
    Case(qhadam(), "QHAdam", {"betas": (0.995, 0.999), "nus": (0.7, 1.0)}, 1e-7, 1e-5, FLOAT32_WEIGHTS),
    Case(
        qhadam(0.01, (0.9, 0.95), 0.8, 0.7, 1e-6, 0.1),
        "QHAdam",
        {
            "lr": 0.01,
            "betas": (0.9, 0.95),
            "nus": (0.8, 0.7),
            "eps": 1e-6,
            "weight_decay": 0.1,
            "weight_decouple": True,
        },
        1e-7,
        1e-5,
        FLOAT32_WEIGHTS,
    ),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("sign", [1, -1], ids=["minimize", "maximize"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.ours))
def test_equals_pytorch_optimizer(case: Case, sign: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(7, generator=generator, dtype=torch.float64).to(dtype)
    grads = torch.randn(STEPS, 7, generator=generator, dtype=torch.float64).to(dtype)
    grads[0, :3] = 0
    if case.theirs == "ADOPT":  # unclipped, what was 0 at first is divided by eps: 1e6 times the rest
        grads[0, :3] = 0.1
    grads[7:9] = 0
    ours = Descent(case.ours.build(), start)
    p = torch.nn.Parameter(start.clone())
    theirs = getattr(peer, case.theirs)([p], **case.arguments, foreach=False)
    rtol = case.rtol32 if dtype == torch.float32 else case.rtol64
    for g in grads:
        p.grad = sign * g  # not maximize=True: its Adan forgets to turn the first gradient around
        theirs.step()
        torch.testing.assert_close(ours.step(sign * g), p.detach(), rtol=rtol, atol=rtol)
