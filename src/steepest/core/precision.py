"""In what precision weights and state are kept between steps: a policy of the optimizer, whatever its rule.

A step is always calculated in float32 (float64 where anything is float64). What is written back may be smaller, and a
16-bit weight may keep, in one of three ways, what its rounding would lose.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from steepest.core.errors import HyperparameterError, did_you_mean

if TYPE_CHECKING:
    from steepest.core.optimizer import Optimizer

State = Literal["same", "float32", "bfloat16", "8bit"]
Rounding = Literal["nearest", "stochastic", "kahan", "split"]


class PrecisionError(HyperparameterError):
    """A policy that does not exist, or that a parameter's type cannot follow."""


@dataclasses.dataclass(frozen=True)
class Precision:
    """How state is kept, and how a 16-bit parameter is rounded when it is written.

    Args:
        state: ``"same"`` type as the parameter; ``"float32"``; ``"bfloat16"``; or ``"8bit"``: groups of 32 entries
            share a scale, 1.0625 bytes an entry. State that copies the parameter (an average of weights) is kept in
            float32 where the others have 8 bits.
        rounding: ``"nearest"``: as torch. ``"stochastic"``: up or down with the probability that makes the mean right,
            also for bfloat16 state. ``"kahan"``: the remainder is kept in a second 16-bit tensor and added to the next
            step. ``"split"``: bfloat16 parameters keep their next 8 bits in an int8 tensor, and the rule sees both as
            one 24-bit number. Parameters of 32 and 64 bits are written as they are.
        seed: Of stochastic rounding: the same seed gives the same bits, on every executor, also after resuming.

    >>> Precision(state="8bit", rounding="split") == as_precision("compact")
    True
    >>> as_precision("compakt")
    Traceback (most recent call last):
    steepest.core.precision.PrecisionError: no precision 'compakt'. Did you mean 'compact'?
    """

    state: State = "same"
    rounding: Rounding = "nearest"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("state", get_args(State)), ("rounding", get_args(Rounding))):
            value = getattr(self, name)
            if value not in choices:
                raise PrecisionError(
                    f"Precision has no {name}={value!r}. Choose one of {', '.join(map(repr, choices))}."
                )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise PrecisionError(f"Precision takes a whole number in [0, 2**63) as seed; given {self.seed!r}.")

    def check(self, dtype: torch.dtype, name: str) -> None:
        """Refuse a parameter whose type cannot follow the policy; ``name`` is its path in the model."""
        if dtype == torch.float64 and self.state != "same":
            raise PrecisionError(
                f"{name!r} is float64, and state={self.state!r} would lose what that is for. "
                "Use precision='same', or a parameter of 32 or 16 bits."
            )
        if dtype == torch.float16 and self.rounding in ("stochastic", "split"):
            raise PrecisionError(
                f"{name!r} is float16; rounding={self.rounding!r} is for bfloat16 parameters. "
                "Use rounding='kahan', or model.bfloat16()."
            )


PRESETS: dict[str, Precision] = {
    "same": Precision(),
    "float32_state": Precision(state="float32"),
    "kahan": Precision(rounding="kahan"),
    "stochastic": Precision(rounding="stochastic"),
    "8bit": Precision(state="8bit"),
    "compact": Precision(state="8bit", rounding="split"),
}
"""Policies with a name."""


def as_precision(value: Precision | str | None) -> Precision:
    """A policy, by value or by name; None is ``"same"``."""
    if value is None:
        return PRESETS["same"]
    if isinstance(value, Precision):
        return value
    if isinstance(value, str):
        if value in PRESETS:
            return PRESETS[value]
        raise PrecisionError(f"no precision {value!r}. {did_you_mean(value, PRESETS)}")
    raise PrecisionError(f"precision takes a Precision or one of {', '.join(map(repr, PRESETS))}; given {value!r}.")


def bytes_per_parameter(optimizer: Optimizer) -> dict[str, float]:
    """Bytes that each part of training keeps for one parameter, measured on the tensors that are there.

    Gradients count where there are any; state is there after the first step. ``total`` is the sum.

    >>> from steepest.optim import AdamW
    >>> p = torch.nn.Parameter(torch.zeros(64, 32, dtype=torch.bfloat16))
    >>> opt = AdamW([p], precision="compact")
    >>> p.grad = torch.ones_like(p)
    >>> opt.step()
    >>> for part, size in bytes_per_parameter(opt).items():
    ...     print(part, size)
    parameter 2.0
    gradient 2.0
    exp_avg 1.0
    exp_avg_scale 0.0625
    exp_avg_sq 1.0
    exp_avg_sq_scale 0.0625
    correction 1.0
    total 7.125
    """
    sizes: dict[str, int] = {"parameter": 0, "gradient": 0}
    entries = 0

    def count(part: str, t: Any) -> None:
        sizes[part] = sizes.get(part, 0) + t.numel() * t.element_size()

    for group in optimizer.param_groups:
        for p in group["params"]:
            entries += p.numel()
            count("parameter", p)
            if p.grad is not None:
                count("gradient", p.grad)
            for name, value in optimizer.state.get(p, {}).items():
                if isinstance(value, torch.Tensor):
                    count(name, value)
    sizes["total"] = sum(sizes.values())
    return {part: size / max(entries, 1) for part, size in sizes.items()}
