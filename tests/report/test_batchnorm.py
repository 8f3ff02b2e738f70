"""The page of a batch-norm layer: a row a feature, both modes, and words for who cannot see it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from steepest.core.errors import RecordError
from steepest.normalization import explain_batchnorm
from steepest.report import draw
from steepest.report.batchnorm import batchnorm_page


def steps(features: int = 3, **options: Any) -> Any:
    make = torch.Generator().manual_seed(0)
    return explain_batchnorm(nn.BatchNorm1d(features, **options), 3 + 2 * torch.randn(50, features, generator=make))


def figure(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1])["figures"]["plot"])


def test_a_row_a_feature_with_both_modes_behind_it() -> None:
    told = steps().record
    drawn = figure(batchnorm_page(told))
    names = [trace["name"] for trace in drawn["data"] if trace["type"] == "bar"]
    assert names == [f"feature {i}, {part}" for i in range(3) for part in ("before", "train", "eval")]
    first = drawn["data"][0]
    assert first["width"] * sum(first["y"]) == pytest.approx(1, rel=1e-4)
    assert sum(first["customdata"]) == pytest.approx(100, rel=1e-3)
    assert len([name for name in drawn["layout"] if name.startswith("xaxis")]) == 6
    batch, running = drawn["layout"]["shapes"][:2]
    assert batch["x0"] == told["features"][0]["mean"] and running["x0"] == 0.0
    assert batch["line"]["dash"] != running["line"]["dash"]


def test_without_running_statistics_one_mode_is_drawn_and_said() -> None:
    page = batchnorm_page(steps(track_running_stats=False).record)
    assert "both modes are the same" in page and "running variance" not in page
    assert {trace["name"].split(", ")[1] for trace in figure(page)["data"]} == {"before", "train"}


def test_the_words_say_what_the_picture_shows() -> None:
    made = steps(20)
    page = batchnorm_page(made.record)
    assert "8 of 20 features (those whose output differs most between the modes)" in page
    assert re.search(r'role="img" aria-label="Histograms and densities of 8 features.*in training, -?\S+ ± 1', page)
    assert "1 of 20 features · 50 values each" in batchnorm_page(made.distributions([7]))


def test_a_feature_that_is_put_out_as_one_value_is_a_spike() -> None:
    layer = nn.BatchNorm1d(2)
    nn.init.zeros_(layer.weight)
    drawn = figure(batchnorm_page(explain_batchnorm(layer, torch.randn(9, 2)).record))
    spike = drawn["data"][2]
    assert spike["x"] == [0.0, 0.0] and spike["y"] == [0, 1] and drawn["layout"]["xaxis2"]["range"] == [-0.5, 0.5]


def test_drawn_by_the_front_door_and_again_from_its_record(tmp_path: Path) -> None:
    made = steps()
    page, kept = draw(made, tmp_path / "bn.html"), draw(made, tmp_path / "bn.json")
    assert draw(kept, tmp_path / "again.html").read_bytes() == page.read_bytes()
    with pytest.raises(RecordError, match=r"write \.html"):
        draw(made, tmp_path / "bn.png")
