"""The guard looks and refuses; it never touches the gradient."""

from __future__ import annotations

import math

import pytest
import torch

from steepest.core.chain import chain
from steepest.core.errors import HyperparameterError
from steepest.gradients import ClipNorm, ClipValue, NonFinite, nonfinite

BAD = [math.nan, math.inf, -math.inf]


def square(g: torch.Tensor, rule: NonFinite) -> float:
    return float(rule.measure(g.double(), rule.init(g), None, rule.scalars(1))[0].sum())


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("action", "accepts"), [("skip", False), ("raise", False), ("pass", True)])
def test_one_bad_entry_is_seen(bad: float, action: str, accepts: bool) -> None:
    rule = NonFinite(action)  # type: ignore[arg-type]
    g = torch.ones(100)
    assert rule.accepts([square(g, rule)])
    g[37] = bad
    assert rule.accepts([square(g, rule)]) is accepts


def test_large_half_precision_is_finite() -> None:
    assert NonFinite().accepts([square(torch.full((1000,), 6e4, dtype=torch.float16), NonFinite())])


def test_the_gradient_passes_unchanged() -> None:
    rule, g = NonFinite(), torch.tensor([1.0, math.nan])
    assert rule.transparent
    assert rule.update(g, rule.init(g), None, rule.scalars(1))[0] is g


def test_the_guard_and_clipping_measure_in_one_pass() -> None:
    """The guard is transparent, so what stands behind it needs no second read; a clamp is not."""
    assert chain(NonFinite(), ClipNorm()).stages() == [[0, 1]]
    assert chain(NonFinite(), ClipValue(), ClipNorm(), ClipNorm()).stages() == [[0, 2], [3]]


@pytest.mark.parametrize(("bad", "says"), [("skp", "Did you mean 'skip'"), (None, "'raise', 'pass'"), (1, "got 1")])
def test_an_unknown_action_is_refused(bad: object, says: str) -> None:
    with pytest.raises(HyperparameterError, match=says):
        nonfinite(bad)  # type: ignore[arg-type]
