"""The checks see what they are for: each is given a rule with one fault, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor

from steepest.core.errors import SteepestError
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule
from steepest.testing import RULE_CHECKS, rule_contract, rule_variants
from steepest.testing import rules as checks

torch.set_num_threads(1)


class Base(Rule):
    """A sound rule, written as an outside author would."""

    class State(NamedTuple):
        m: Tensor

    class K(NamedTuple):
        mu: Scalar

    def init(self, p: Tensor) -> Any:
        return self.State(torch.zeros_like(p))

    def scalars(self, t: Scalar) -> Any:
        return self.K(self.mu)  # type: ignore[attr-defined]

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        m = k.mu * s.m + g
        return m, self.State(m)


@rule
class Sound(Base):
    r"""A sum: :math:`m = \mu m + g`.

    Args:
        mu: Weight of the past, in [0, 1).
        twice: Whether it is doubled.

    Shapes: all the same. Memory: 4 bytes a parameter.
    Source: nobody 1900.

    Example:
        >>> Sound().mu
        0.5
    """

    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")
    twice: bool = False

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        m = k.mu * s.m + g
        return (2 * m if self.twice else m), self.State(m)


@rule
class WritesItsState(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        s.m.mul_(k.mu).add_(g)
        return s.m.clone(), s


@rule
class Random(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g * torch.rand(()), s


@rule
class Widens(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g.double(), s


@rule
class WidensItsState(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g, self.State(s.m.double())


@rule
class ForgetsItsState(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g, Nothing()


@rule
class DividesByZero(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g / torch.abs(g), s


@rule
class BadScalars(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def scalars(self, t: Scalar) -> Any:
        return self.K(torch.tensor(0.5))


@rule
class Mixes(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def scalars(self, t: Scalar) -> Any:
        return self.K(float(torch.as_tensor(self.mu).max()))


@rule
class Branches(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return (g if (g > 0).all() else -g), s


@rule
class TwoFaced(Base):
    """One formula for tensors, another for the tracer."""

    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return (g if isinstance(g, Tensor) else 2 * g), s


@rule
class Unbounded(Base):
    mu: Scalar = 0.5


@rule
class Unchecked(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def __post_init__(self) -> None:
        """Checks nothing."""


# @rule writes its own __post_init__; put the one that checks nothing back
Unchecked.__post_init__ = lambda self: None  # type: ignore[method-assign]


@rule
class Recompiles(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")

    def structure(self) -> tuple[Any, ...]:
        return (type(self), self.mu)


@rule
class Undocumented(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")


@rule
class Misnames(Base):
    mu: Scalar = hyper(default=0.5, bounds="[0, 1)")
    torch_names: ClassVar[dict[str, str]] = {"velocity": "momentum_buffer"}


FAULTS = [
    (WritesItsState, checks.check_pure, "changed one of its arguments"),
    (Random, checks.check_pure, "from the same arguments"),
    (Widens, checks.check_shape_and_dtype, "torch.float64"),
    (WidensItsState, checks.check_state, "state m went from"),
    (ForgetsItsState, checks.check_state, "turned State into Nothing"),
    (DividesByZero, checks.check_finite, "nan"),
    (BadScalars, checks.check_scalars, "must be a number"),
    (Mixes, checks.check_vmap, "of a stack gave"),
    (Branches, checks.check_executors, "cannot"),
    (TwoFaced, checks.check_executors, "differs from the reference"),
    (Unbounded, checks.check_hyperparameters, "has no bounds"),
    (Unchecked, checks.check_hyperparameters, "is accepted"),
    (Recompiles, checks.check_value, "would recompile"),
    (Undocumented, checks.check_docstring, "lacks"),
    (Misnames, checks.check_torch_names, "velocity"),
]


def test_a_sound_rule_passes() -> None:
    for variant in rule_variants(Sound):
        rule_contract(variant)


def test_variants_are_all_combinations_of_flags() -> None:
    assert rule_variants(Sound) == [Sound(), Sound(twice=True)]


@pytest.mark.parametrize(("cls", "check", "message"), FAULTS, ids=lambda x: getattr(x, "__name__", ""))
def test_a_fault_is_seen(cls: type[Rule], check: Callable[[Rule], None], message: str) -> None:
    with pytest.raises((AssertionError, SteepestError), match=message):
        check(cls())


def test_every_check_but_the_chain_has_its_fault() -> None:
    assert {check for _, check, _ in FAULTS} == set(RULE_CHECKS) - {checks.check_chain}
