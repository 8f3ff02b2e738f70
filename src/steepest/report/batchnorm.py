"""What a batch-norm layer does to a batch, as a page: the distribution of each feature before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steepest.report.curves import rounded
from steepest.report.html import Html, element
from steepest.report.standalone import standalone, still
from steepest.report.style import colour

NEUTRAL, TRAIN, EVAL = "#808790", colour(0), colour(1)
FILLS = {NEUTRAL: "rgba(128,135,144,.35)", TRAIN: colour(0, 0.30), EVAL: colour(1, 0.18)}
ROW, ABOVE, BELOW = 132, 8, 8
"""Pixels of a row, above all rows and below them."""
KEY = (
    (NEUTRAL, "none", "before the layer"),
    (TRAIN, "none", "after it in training: statistics of this batch"),
    (EVAL, "7 4", "after it in evaluation: running statistics"),
)


def batchnorm_page(record: Mapping[str, Any]) -> str:
    """The page of a record of kind "batchnorm"."""
    features = record["features"]
    tracked = "eval" in features[0]
    shown = f"{len(features)} of {record['size']} features" if len(features) < record["size"] else _count(features)
    if len(features) < record["size"] and not record["chosen"]:
        shown += " (those whose output differs most between the modes)" if tracked else ""
    facts = f"{shown} · {record['count']} values each · eps {record['eps']:g} · momentum {record['momentum']:g}"
    notes = [
        "Bars are histograms, lines are smooth densities; areas are shares of the values.",
        "Upright lines on the left are the means the layer subtracts: solid that of the batch, dashed the running one."
        if tracked
        else "The upright line on the left is the batch's mean. Without running statistics both modes are the same.",
    ]
    size = f"#plot {{ height: {ABOVE + BELOW + ROW * len(features)}px; }}"
    return standalone(
        "Batch norm",
        [element("h1", "Batch norm: a batch before and after"), element("p", facts, class_="facts")],
        [
            element("ul", [_key(*entry) for entry in (KEY if tracked else KEY[:2])], class_="key", aria_label="Key"),
            element("div", id="plot", class_="plot", role="img", aria_label=_alt(features, tracked)),
            element("p", " ".join(notes), class_="end"),
            element("details", element("summary", "Numbers as a table"), _table(features, tracked)),
        ],
        still({"plot": _figure(features)}),
        style=size,
    )


def _count(features: list[dict[str, Any]]) -> str:
    return f"{len(features)} feature{'s' if len(features) > 1 else ''}"


def _alt(features: list[dict[str, Any]], tracked: bool) -> str:
    parts = [f"Histograms and densities of {_count(features)} before and after batch norm, one row a feature."]
    for f in features:
        words = f"Feature {f['feature']}: before {_size(f['before'])}; after, in training, {_size(f['train'])}"
        parts.append(words + (f", in evaluation {_size(f['eval'])}." if tracked else "."))
    return " ".join(parts)


def _size(spread: Mapping[str, Any]) -> str:
    return f"{spread['mean']:.3g} ± {spread['deviation']:.3g}"


def _key(paint: str, dashes: str, words: str) -> Html:
    line = element("line", x1=1, y1=8, x2=43, y2=8, stroke=paint, stroke_width="2.5", stroke_dasharray=dashes)
    return element(
        "li", element("svg", line, width=44, height=16, aria_hidden="true"), element("span", words, class_="end")
    )


def _figure(features: list[dict[str, Any]]) -> dict[str, Any]:
    """Two columns, before and after; a row a feature."""
    rows = len(features)
    high = rows * ROW + ABOVE + BELOW
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "margin": {"l": 12, "r": 12, "t": ABOVE, "b": BELOW},
        "height": high,
        "showlegend": False,
        "hovermode": "closest",
        "bargap": 0,
        "barmode": "overlay",
        "annotations": [],
        "shapes": [],
    }
    for row, f in enumerate(features):
        top, bottom = 1 - row / rows, 1 - (row + 1) / rows
        for side, parts in enumerate(
            ((("before", NEUTRAL, "solid"),), (("train", TRAIN, "solid"), ("eval", EVAL, "dash")))
        ):
            k = 2 * row + side + 1
            tag = "" if k == 1 else str(k)
            drawn = [f[name] for name, _, _ in parts if name in f]
            for name, paint, dashes in parts:
                if name in f:
                    data += _traces(f[name], f"feature {f['feature']}, {name}", paint, dashes, tag)
            low, last = _range(drawn)
            layout[f"xaxis{tag}"] = {
                "domain": [0, 0.47] if side == 0 else [0.53, 1],
                "anchor": f"y{tag}",
                "range": [low, last],
                "nticks": 5,
            }
            layout[f"yaxis{tag}"] = {
                "domain": [bottom + 30 / (rows * ROW), top - 20 / (rows * ROW)],
                "anchor": f"x{tag}",
                "showticklabels": False,
                "ticks": "",
                "showgrid": False,
                "showline": False,
                "range": [0, 1.06 * max(_peak(it) for it in drawn)],
            }
            if side == 0:
                layout["annotations"].append(_said(f"<b>feature {f['feature']}</b> before", 0, top))
                layout["shapes"].append(_upright(f["mean"], TRAIN, "solid", tag))
                if "eval" in f:
                    layout["shapes"].append(_upright(f["running_mean"], EVAL, "dash", tag))
            else:
                layout["annotations"].append(_said("after", 0.53, top))
    return {"data": data, "layout": layout}


def _said(words: str, x: float, y: float) -> dict[str, Any]:
    where = {"x": x, "y": y, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top"}
    return {"text": words, "showarrow": False, **where}


def _upright(x: float, paint: str, dashes: str, tag: str) -> dict[str, Any]:
    line = {"color": paint, "width": 2, "dash": dashes}
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "xref": f"x{tag}",
        "yref": f"y{tag} domain",
        "line": line,
    }


def _range(drawn: list[dict[str, Any]]) -> tuple[float, float]:
    lows = [it["at"][0] if it["width"] else it["mean"] for it in drawn]
    highs = [it["at"][-1] if it["width"] else it["mean"] for it in drawn]
    low, high = min(lows), max(highs)
    room = 0.02 * (high - low) or 0.5 * max(1.0, abs(low))
    return low - room, high + room


def _peak(it: Mapping[str, Any]) -> float:
    """Density of its highest place; of values that are all the same 1, for there is none."""
    return max(*it["bars"], *it["density"]) if it["width"] else 1.0


def _traces(it: Mapping[str, Any], name: str, paint: str, dashes: str, tag: str) -> list[dict[str, Any]]:
    axes = {"xaxis": f"x{tag}", "yaxis": f"y{tag}", "name": name}
    line = {"color": paint, "width": 2, "dash": dashes}
    if not it["width"]:
        spike = {"type": "scatter", "mode": "lines", "x": [it["mean"]] * 2, "y": [0, 1], "line": line}
        return [{**axes, **spike, "hovertemplate": "%{x:.4g}: all values"}]
    middles = [it["low"] + it["width"] * (i + 0.5) for i in range(len(it["bars"]))]
    bars = {
        "type": "bar",
        "x": _few(middles),
        "y": _few(it["bars"]),
        "width": it["width"],
        "marker": {"color": FILLS[paint], "line": {"width": 0}},
        "customdata": _few([100 * height * it["width"] for height in it["bars"]]),
        "hovertemplate": "%{x:.4g}: %{customdata:.3g} % of the values",
    }
    curve = {
        "type": "scatter",
        "mode": "lines",
        "x": _few(it["at"]),
        "y": _few(it["density"]),
        "line": line,
        "hoverinfo": "skip",
    }
    return [{**axes, **bars}, {**axes, **curve}]


def _few(values: Sequence[float]) -> list[float | None]:
    return rounded(np.array(values), 6)


def _table(features: list[dict[str, Any]], tracked: bool) -> Html:
    names = {"mean": "batch mean", "variance": "batch variance", "scale": "scale", "shift": "shift"}
    if tracked:
        names |= {"running_mean": "running mean", "running_variance": "running variance"}
    head = [element("th", n, scope="col", class_="number") for n in ("feature", *names.values())]
    rows = [
        element(
            "tr",
            element("th", f["feature"], scope="row", class_="number"),
            [element("td", f"{f[name]:.4g}", class_="number") for name in names],
        )
        for f in features
    ]
    caption = element("caption", "What the layer computes with, a row a feature")
    table = element("table", caption, element("thead", element("tr", head)), element("tbody", rows))
    return element("div", table, class_="scroll", tabindex=0)
