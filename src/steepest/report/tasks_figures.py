"""How several tasks get on, drawn: the graph of affinities, the same as a heat map, and what each way was worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from steepest.report.style import SYMBOLS, colour, ink, symbol
from steepest.report.tasks_text import FEW, SHOWN, change, letter, order

AGAINST, TOGETHER = "#D55E00", "#0072B2"
SCALE = [[0, AGAINST], [0.25, "#EFAE80"], [0.5, "#F4F4F2"], [0.75, "#7FB6D8"], [1, TOGETHER]]


def places(record: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Where the tasks stand on a circle, with a gap between clusters."""
    labels, ordered = record["clusters"], order(record)
    gap = 0.6 if len(set(labels)) < len(labels) else 0.0
    at, angles = 0.0, {}
    for k, i in enumerate(ordered):
        if k and labels[i] != labels[ordered[k - 1]]:
            at += gap
        angles[i] = at
        at += 1
    whole = at + gap
    return [
        (math.sin(2 * math.pi * angles[i] / whole), math.cos(2 * math.pi * angles[i] / whole))
        for i in range(len(labels))
    ]


def graph(record: Mapping[str, Any]) -> dict[str, Any]:
    """Tasks on a circle, with a line for each affinity that counts."""
    names, labels, A = record["names"], record["clusters"], record["affinity"]
    m, at = len(names), places(record)
    pairs = [(i, j) for i in range(m) for j in range(i + 1, m) if abs(A[i][j]) >= SHOWN]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [at[i][0], at[j][0]],
            "y": [at[i][1], at[j][1]],
            "line": {
                "color": TOGETHER if A[i][j] > 0 else AGAINST,
                "width": round(0.5 + 5 * abs(A[i][j]), 2),
                "dash": "solid" if A[i][j] > 0 else "dash",
            },
            "opacity": 0.75 if m <= FEW else 0.45,
            "hoverinfo": "skip",
        }
        for i, j in pairs
    ]
    small = m > FEW
    data.append(
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [x for x, _ in at],
            "y": [y for _, y in at],
            "text": [letter(k) for k in labels],
            "textfont": {"color": [ink(k) for k in labels], "size": 10 if small else 13},
            "customdata": [f"{n}, cluster {letter(k)}" for n, k in zip(names, labels, strict=True)],
            "marker": {
                "color": [colour(k) for k in labels],
                "symbol": [symbol(k) for k in labels],
                "size": 20 if small else 30,
                "line": {"width": 1, "color": "#ffffff"},
            },
            "hovertemplate": "%{customdata}<extra></extra>",
        }
    )
    notes = [
        {
            "x": 1.2 * x,
            "y": 1.2 * y,
            "text": names[i],
            "showarrow": False,
            "xanchor": "center" if abs(x) < 0.35 else "left" if x > 0 else "right",
            "font": {"size": 11 if small else 13},
        }
        for i, (x, y) in enumerate(at)
    ]
    longest = max(map(len, names))
    wide = 1.3 + 0.055 * longest
    bare = {"visible": False, "fixedrange": True}
    layout = {
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "showlegend": False,
        "hovermode": "closest",
        "xaxis": {**bare, "range": [-wide, wide]},
        "yaxis": {**bare, "range": [-1.4, 1.4]},
        "annotations": notes,
    }
    return {"data": data, "layout": layout}


def heat(record: Mapping[str, Any]) -> dict[str, Any]:
    """The matrix of affinities, those of a cluster side by side."""
    names, A, ordered = record["names"], record["affinity"], order(record)
    shown = [names[i] for i in ordered]
    z = [[round(A[i][j], 3) for j in ordered] for i in ordered]
    notes = [
        {
            "x": shown[b],
            "y": shown[a],
            "text": f"{z[a][b]:.2f}",
            "showarrow": False,
            "font": {"color": "#ffffff" if z[a][b] > 0.8 else "#111111", "size": 12},
        }
        for a in range(len(shown))
        for b in range(len(shown))
        if len(shown) <= FEW
    ]
    data = {
        "type": "heatmap",
        "x": shown,
        "y": shown,
        "z": z,
        "zmin": -1,
        "zmax": 1,
        "colorscale": SCALE,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"title": {"text": "affinity"}, "thickness": 12, "len": 0.8, "tickvals": [-1, -0.5, 0, 0.5, 1]},
        "hovertemplate": "%{y} and %{x}: %{z:.2f}<extra></extra>",
    }
    small = {"tickfont": {"size": 9}} if len(shown) > FEW else {}
    axis = {"type": "category", "ticks": "", "showline": False, "showgrid": False, "dtick": 1, **small}
    layout = {
        "margin": {"l": 20, "r": 8, "t": 10, "b": 20},
        "xaxis": {**axis, "tickangle": -60 if sum(map(len, shown)) > 18 else 0},
        "yaxis": {**axis, "autorange": "reversed"},
        "annotations": notes,
    }
    return {"data": [data], "layout": layout}


def arms(record: Mapping[str, Any]) -> dict[str, Any]:
    """The losses of each way over those of the sum, with intervals."""
    rows = [(r, found) for r in record["trial"] if (found := change(r)) is not None]
    labels = [r["name"] for r, _ in rows]
    traces = []
    for kind, (compares, said) in enumerate(((False, "weighs losses"), (True, "compares gradients"))):
        mine = [(r, f) for r, f in rows if r["compares"] == compares]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": said,
                "x": [f[0] for _, f in mine],
                "y": [r["name"] for r, _ in mine],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [0 if f[2] is None else f[2] - f[0] for _, f in mine],
                    "arrayminus": [0 if f[1] is None else f[0] - f[1] for _, f in mine],
                    "thickness": 1.6,
                    "width": 5,
                    "color": colour(kind),
                },
                "marker": {"color": colour(kind), "symbol": SYMBOLS[kind], "size": 10},
                "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
            }
        )
    ends = [v for _, f in rows for v in f if v is not None]
    log = max(ends) > 3 * min(ends)
    line = {"type": "line", "xref": "x", "yref": "paper", "x0": 1, "x1": 1, "y0": 0, "y1": 1}
    layout = {
        "margin": {"l": 20, "r": 14, "t": 8, "b": 44},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {"title": {"text": "losses, over those of the sum"}, "type": "log" if log else "linear"},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": labels[::-1], "ticks": ""},
        "shapes": [{**line, "line": {"color": "#808790", "width": 1, "dash": "dot"}}],
    }
    return {"data": traces, "layout": layout}
