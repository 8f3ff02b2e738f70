"""A network as a graph, as a page."""

from __future__ import annotations

import json
import re
from typing import Any

import torch
from torch import nn

from steepest.graph.picture import DRAWN, SHOWN, picture
from steepest.report.neurons_page import neurons_page


def record() -> dict[str, Any]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 4), nn.Tanh(), nn.Linear(4, 2))
    return picture(net, torch.zeros(1, 3)).record


def figure(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1])["figures"]["neurons"])


def test_the_record_is_plain_and_says_what_is_left_out() -> None:
    found = record()
    assert json.loads(json.dumps(found)) == found
    assert [(layer["name"], layer["size"], len(layer["shown"]), layer["column"]) for layer in found["layers"]] == [
        ("0 from", 3, 3, 0), ("0", 40, SHOWN, 1), ("2", 4, 4, 2), ("4", 2, 2, 3)
    ]  # fmt: skip
    assert [e["count"] for e in found["edges"]] == [120, 160, 8]
    assert [len(e["edges"]) for e in found["edges"]] == [3 * SHOWN, min(DRAWN, 4 * SHOWN), 8]
    assert found["layers"][1]["shown"][0] == 0 and found["layers"][1]["shown"][-1] == 39


def test_every_shown_neuron_and_edge_is_in_the_figure() -> None:
    found = record()
    drawn = figure(neurons_page(found))
    markers = [t for t in drawn["data"] if t["mode"] == "markers"]
    assert sum(len(t["x"]) for t in markers) == 3 + SHOWN + 4 + 2
    lines = [t for t in drawn["data"] if t["mode"] == "lines"]
    assert sum(t["x"].count(None) for t in lines) == sum(len(e["edges"]) for e in found["edges"])
    places = [p for t in markers for p in zip(t["x"], t["y"], strict=True)]
    assert len(set(places)) == len(places), "no neuron lies on another"
    assert all(-1.15 < y < 1.15 for _, y in places)


def test_what_was_not_followed_is_said_by_name() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.w, self.b = nn.Linear(4, 6), nn.Parameter(torch.eye(6)), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x) @ torch.linalg.matrix_exp(self.w))

    page = neurons_page(picture(Odd(), torch.zeros(1, 4)).record)
    assert "<code>linalg_matrix_exp</code> in the model itself" in page
    assert "<code>w</code>: linalg_matrix_exp is not known" in page
    assert "Not followed" not in neurons_page(record())


def test_names_are_escaped() -> None:
    found = {**record(), "title": "<b>&"}
    assert "<b>&" not in neurons_page(found) and "&lt;b&gt;&amp;" in neurons_page(found)
