"""The advisor: what it measures is what is there, and it recommends surgery only where that pays."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import steepest as st
from steepest.advisor import advise
from steepest.advisor.balanced import BALANCED, balanced
from steepest.advisor.measure import AdviceError, moments, probes
from steepest.advisor.trial import arms, compared
from steepest.advisor.words import verdict
from steepest.multitask.cluster import labelled, members
from steepest.report import draw
from steepest.report.tasks_text import tasks_text
from steepest.tasks import Task, load


class Shared(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(dropout))
        self.a, self.b = nn.Linear(6, 1), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.a(h)[:, 0], self.b(h)[:, 0]


def squared(out: tuple[Tensor, Tensor], batch: Any, which: int) -> Tensor:
    return (out[which] - batch[1][:, which]).square().mean()


def task(scale: float = 1.0, noise: float = 0.0, dropout: float = 0.0) -> Task:
    """Two regressions; the second in units that make its loss so many times larger, and noisy."""
    draw_ = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=draw_)
    y = torch.stack([x[:, 0] + x[:, 1], x[:, 2]], 1)
    y[:, 1] += noise * torch.randn(400, generator=draw_)
    y = y * torch.tensor([1.0, scale**0.5])
    losses = {"first": partial(squared, which=0), "second": partial(squared, which=1)}
    return Task(
        "two",
        partial(Shared, dropout),
        lambda out, batch: squared(out, batch, 0) + squared(out, batch, 1),
        losses=losses,
        train=(x[:300], y[:300]),
        validation=(x[300:], y[300:]),
        batch_size=30,
        steps=30,
    )


QUICK: dict[str, Any] = {"seeds": 2, "looks": 3, "trials": 0, "progress": False}


def test_scales_are_measured() -> None:
    small, large = (advise(task(scale), "sgd(lr=1e-3)", **QUICK).record for scale in (1.0, 1e6))
    assert large["gradient_ratio"]["mean"] > 100 > 10 > small["gradient_ratio"]["mean"]
    assert large["verdict"][0].startswith("Badly scaled") and small["verdict"][0].startswith("Of similar scale")
    assert large["way"] == "log sum" and small["way"] == "sum"
    assert large["recommended"] == "sgd() | log_sum()"


def test_noise_is_measured() -> None:
    quiet, loud = (advise(task(noise=n), "sgd(lr=1e-3)", **QUICK).record["tasks"] for n in (0.0, 20.0))
    assert loud[1]["noise"]["mean"] > 0.9 > 0.6 > quiet[1]["noise"]["mean"]
    assert loud[0]["noise"]["mean"] < 0.6


def test_the_training_knows_nothing_of_the_looks() -> None:
    """Dropout and batch norm included: the losses of an ordinary run, step by step."""
    made = task(dropout=0.3)
    strategy = st.adamw(lr=1e-2)
    seen = list(probes(made, strategy, 3, [1, 4, 30]))
    assert [p.step for p in seen] == [1, 4, 30]
    again = list(probes(made, strategy, 3, [30]))
    assert again[0] == seen[-1]
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(probes(made, strategy, 0, [2]))
    assert torch.equal(torch.rand(1), expected)


def test_moments_begin_with_the_first_step_and_end_with_the_last() -> None:
    assert moments(100, 4) == [1, 11, 44, 100]
    assert moments(3, 8) == [1, 2, 3]
    assert moments(50, 1) == [50]


def test_the_planted_clusters_are_found_and_drawn(tmp_path: Path) -> None:
    found = advise(
        dataclasses.replace(load("planted-clusters"), steps=150),
        "adamw(lr=3e-3)",
        **{**QUICK, "looks": 5},
        out=tmp_path,
    )
    truth = labelled(members(tuple(load("planted-clusters").facts["clusters"].values())))
    assert tuple(found.record["clusters"]) == truth
    assert any(s.startswith("4 clusters: t00 t03") for s in found.record["verdict"])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * len(found.record["moments"]) and {line["kind"] for line in lines} == {"tasks"}
    record = json.loads((tmp_path / "tasks.json").read_text())
    assert record == found.record
    page = draw(tmp_path / "tasks.json", tmp_path / "tasks.html").read_text()  # the record alone is enough
    assert "Who pulls with whom" in page and "What pays" not in page
    text = tasks_text(record, 90)
    assert "█" in text and max(map(len, text.splitlines())) <= 90


@pytest.mark.slow
def test_a_trial_says_what_pays(tmp_path: Path) -> None:
    """The sum of losses as 1 to 1000 trains one of them; the logarithms train both, and surgery adds nothing."""
    made = dataclasses.replace(load("two-scales"), steps=120)
    options: dict[str, Any] = {**QUICK, "trials": 4, "finals": 3, "out": tmp_path, "jobs": 1}
    found = advise(made, "adamw(lr=3e-3) | cosine", **options)
    rows = {row["name"]: row for row in found.record["trial"]}
    assert rows["log sum"]["against sum"]["high"] < 0
    assert rows["log sum"]["mean"] < rows["sum"]["mean"]
    assert found.strategy == rows[found.record["way"]]["chosen"] != rows[found.record["way"]]["space"]
    assert {row["best plain"] for row in found.record["trial"]} == {True, False}
    assert "What pays" in draw(found, tmp_path / "tasks.html").read_text()
    assert advise(made, "adamw(lr=3e-3) | cosine", **options).record["trial"] == found.record["trial"]  # resumed


def runs(values: list[float], seconds: float = 1.0) -> list[dict[str, Any]]:
    return [{"status": "finished", "validation": {BALANCED: v}, "cpu_seconds": seconds} for v in values]


TEXTS = dict.fromkeys(("sum", "log sum", "upgrad"), "adamw(lr=log(1e-4, 1e-2))")
RECORD: dict[str, Any] = {
    "gradient_ratio": {"mean": 2.0},
    "tasks": [{"name": n, "gradient": 1.0, "noise": {"mean": 0.1}} for n in "ab"],
    "conflicts": {"mean": 0.0},
    "lasting": [],
    "names": ["a", "b"],
    "clusters": [0, 1],
}


@pytest.mark.parametrize(
    ("upgrad", "way", "said"),
    [
        ([0.50, 0.51, 0.49, 0.50, 0.52], "upgrad", "Surgery pays: upgrad"),
        ([1.02, 0.90, 1.10, 1.01, 0.97], "sum", "Surgery does not pay"),
        ([0.98, 0.80, 1.10, 0.96, 0.99], "sum", "Surgery does not pay"),  # a little better, by luck
    ],
)
def test_surgery_is_recommended_where_it_pays_and_nowhere_else(upgrad: list[float], way: str, said: str) -> None:
    base = [1.0, 1.03, 0.98, 1.01, 0.99]
    rows = compared({"sum": runs(base), "log sum": runs([1.5] * 5), "upgrad": runs(upgrad, 3.0)}, BALANCED, TEXTS)
    assert [r["name"] for r in rows if r["best plain"]] == ["sum"]
    found = verdict({**RECORD, "trial": rows}, st.adamw(lr=1e-3))
    assert found["way"] == way and said in found["verdict"][-1], found
    if way == "upgrad":
        assert "for 3.0 times the time" in found["verdict"][-1]


def test_the_sum_is_kept_where_a_better_plain_way_is_luck() -> None:
    base = [1.0, 1.3, 0.8, 1.1, 0.9]
    rows = compared({"sum": runs(base), "log sum": runs([0.97, 1.2, 0.9, 1.0, 0.88])}, BALANCED, TEXTS)
    assert [r["name"] for r in rows if r["best plain"]] == ["log sum"]
    found = verdict({**RECORD, "trial": rows}, st.adamw(lr=1e-3))
    assert found["way"] == "sum" and "which log_sum does not beat by more than luck" in found["verdict"][-1]


def test_a_way_that_was_lost_is_no_winner() -> None:
    lost = [{"status": "diverged", "validation": {BALANCED: None}, "cpu_seconds": 1.0}] * 5
    rows = compared({"sum": runs([1.0, 1.1, 0.9, 1.0, 1.0]), "upgrad": lost}, BALANCED, TEXTS)
    assert rows[-1]["lost"] == 5 and not rows[-1].get("pays")


def test_the_balanced_metric_is_the_geometric_mean_over_the_split() -> None:
    made = balanced(task())
    found = made.evaluate(made.build(0))
    assert found[BALANCED] == pytest.approx(math.sqrt(found["first"] * found["second"]))
    scaled = balanced(task(scale=100.0))
    assert (scaled.metric, scaled.goal) == (BALANCED, "min")


def test_every_way_has_the_same_range() -> None:
    made = arms(st.parse("adamw(lr=2e-3) | cosine"), 8)
    assert {str(space.dimensions["adamw.lr"]) for space in made.values()} == {"log(0.0002, 0.02)"}
    assert "clusters" in made and "clusters" not in arms(st.parse("sgd(0.1)"), 3)


@pytest.mark.parametrize(
    ("name", "strategy", "more", "said"),
    [
        ("digits-mlp", "adamw", {}, "has one loss"),
        ("digits-multitask", "adamw | upgrad", {}, "combines the losses already"),
        ("digits-multitask", "adamw", {"looks": 0}, "looks is a whole number of at least 1; got 0"),
        ("digits-multitask", "adamw", {"finals": 2}, "finals is a whole number of at least 3; got 2"),
    ],
)
def test_what_cannot_be_advised_is_said(name: str, strategy: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(AdviceError, match=said):
        advise(name, strategy, **more)
