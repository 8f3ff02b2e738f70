"""Histograms and densities: areas are shares, the curve is the sum of kernels, what lies behind is mapped."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from steepest.normalization import explain_batchnorm
from steepest.normalization.spread import Spread, spread


def kernels(x: Tensor, at: Tensor, h: float) -> Tensor:
    """The definition, without a grid."""
    return torch.exp(-0.5 * ((at[:, None] - x) / h).square()).mean(1) / (h * math.sqrt(2 * math.pi))


def silverman(x: Tensor) -> float:
    quartiles = torch.quantile(x, torch.tensor([0.25, 0.75], dtype=torch.float64), interpolation="lower")
    return 0.9 * min(float(x.std(correction=0)), float(quartiles[1] - quartiles[0]) / 1.34) * len(x) ** -0.2


def heaps(n: int = 400) -> Tensor:
    make = torch.Generator().manual_seed(0)
    x = torch.randn(n, generator=make, dtype=torch.float64)
    return x.sign() * 5 + 0.3 * x


@pytest.mark.parametrize("x", [heaps(), torch.linspace(0, 1, 301, dtype=torch.float64).square()], ids=["two", "one"])
def test_the_curve_is_the_sum_of_kernels_with_the_likeliest_bandwidth(x: Tensor) -> None:
    def likely(h: float) -> float:  # every value under the kernels of the others
        gaps = torch.exp(-0.5 * ((x[:, None] - x) / h).square()).fill_diagonal_(0).sum(1) / h
        return float(gaps.log().sum())

    found = spread(x)
    h = max((silverman(x) / k for k in (1, 2, 4)), key=likely)
    at = torch.tensor(found.at, dtype=torch.float64)
    torch.testing.assert_close(torch.tensor(found.density).double(), kernels(x, at, h), rtol=0.01, atol=1e-4)
    area = float(torch.trapezoid(torch.tensor(found.density), torch.tensor(found.at)))
    assert area == pytest.approx(1, abs=0.01)


def test_two_heaps_are_not_smoothed_into_one() -> None:
    found = spread(heaps())
    middle = min(range(len(found.at)), key=lambda i: abs(found.at[i]))
    assert found.density[middle] < 0.01 * max(found.density)


def test_areas_of_bars_are_shares_of_the_values() -> None:
    x = torch.tensor([0.0, 0.1, 0.2, 0.9, 1.0]).double()
    found = spread(x, bins=4)
    assert [round(found.width * bar, 12) for bar in found.bars] == [0.6, 0.0, 0.0, 0.4]
    assert found.mean == pytest.approx(0.44) and found.deviation == pytest.approx(float(x.std(correction=0)))


@pytest.mark.parametrize("scale", [2.0, -0.5])
def test_what_is_mapped_is_what_would_be_seen_of_the_mapped_values(scale: float) -> None:
    x = heaps(257)
    mapped, direct = spread(x).mapped(scale, 3.0), spread(scale * x + 3.0)
    assert direct.low == pytest.approx(mapped.low) and direct.width == pytest.approx(mapped.width)
    assert mapped.mean == pytest.approx(direct.mean) and mapped.deviation == pytest.approx(direct.deviation)
    assert mapped.at == pytest.approx(direct.at, rel=0.02, abs=0.02)
    peak = max(direct.density)
    assert mapped.density == pytest.approx(direct.density, abs=0.03 * peak)


def test_values_that_are_all_the_same_have_no_width() -> None:
    assert spread(torch.full((7,), 2.5)) == Spread(2.5, 0.0, (), (), (), 2.5, 0.0)
    assert spread(torch.tensor([1.0, 2.0])).mapped(0.0, 4.0) == Spread(4.0, 0.0, (), (), (), 4.0, 0.0)


def test_many_zeros_and_far_values_are_taken() -> None:
    x = torch.cat([torch.zeros(900), torch.rand(100, generator=torch.Generator().manual_seed(1)), torch.tensor([1e6])])
    found = spread(x)
    assert all(map(math.isfinite, (*found.bars, *found.density))) and sum(found.bars) * found.width == pytest.approx(1)


# ------------------------------------------------------------------------------------------------- of a layer


def layer_and_batch() -> tuple[nn.BatchNorm2d, Tensor]:
    make = torch.Generator().manual_seed(2)
    layer = nn.BatchNorm2d(12)
    nn.init.normal_(layer.weight, generator=make)
    x = torch.randn(4, 12, 3, 3, generator=make)
    x[:, 5] += 100
    return layer, x


def test_a_record_shows_what_the_layer_puts_out_in_both_modes() -> None:
    layer, x = layer_and_batch()
    steps = explain_batchnorm(layer, x)
    told = steps.distributions([5, 1])
    assert [f["feature"] for f in told["features"]] == [5, 1] and told["chosen"]
    for f in told["features"]:
        for name, out in (("train", steps.output), ("eval", steps.output_eval), ("before", steps.input)):
            values = out[:, f["feature"]]
            assert f[name]["mean"] == pytest.approx(float(values.mean()), abs=1e-9)
            assert f[name]["deviation"] == pytest.approx(float(values.std(correction=0)))
            assert f[name]["low"] == pytest.approx(float(values.min()))


def test_without_a_choice_the_features_that_differ_most_between_the_modes_are_shown() -> None:
    layer, x = layer_and_batch()
    steps = explain_batchnorm(layer, x)
    chosen = [f["feature"] for f in steps.record["features"]]
    assert len(chosen) == 8 and chosen == sorted(chosen) and 5 in chosen and not steps.record["chosen"]


def test_without_running_statistics_there_is_one_mode() -> None:
    told = explain_batchnorm(nn.BatchNorm1d(2, track_running_stats=False), torch.randn(5, 2)).record
    assert "eval" not in told["features"][0] and "running_mean" not in told["features"][0]


def test_bad_choices_say_what_is_needed() -> None:
    layer, x = layer_and_batch()
    steps = explain_batchnorm(layer, x)
    for wrong in ([12], [-1], [True], ["a"]):
        with pytest.raises(ValueError, match="0 to 11; given"):
            steps.distributions(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="names none"):
        steps.distributions([])
    x[0, 3, 0, 0] = math.nan
    with pytest.raises(ValueError, match="feature 3 is not finite"):
        explain_batchnorm(layer, x).distributions([3])
