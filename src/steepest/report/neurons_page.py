"""The page of a network as a graph: neurons in columns, weights as lines, and every tensor in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steepest.report.html import Html, element
from steepest.report.standalone import standalone, still
from steepest.report.style import colour
from steepest.report.words import figure

KINDS = {
    "input": ("square", 5, "input"),
    "hidden": ("circle", 0, "hidden: may be permuted"),
    "output": ("diamond", 2, "output"),
    "fixed": ("cross-thin", 6, "fixed in place"),
}
"""Symbol, colour and words for each kind of neuron."""
BINS = ((0.6, 1.0, 1.6), (0.25, 0.45, 1.0), (0.0, 0.18, 0.7))
"""Lines in three strengths: above which share of the tensor's largest weight, with what opacity and width."""
SIGNS = {"+": (0, "positive weight"), "-": (1, "negative weight"), "": (6, "size of several weights")}
WIDE = 76
"""Pixels a column at least; past the screen the picture scrolls."""

STYLE = """
.wide { overflow-x: auto; }
.wide .plot { min-width: MINpx; }
td code, .isolated code { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
"""


def neurons_page(record: Mapping[str, Any]) -> str:
    """The page of a record of kind "neurons"."""
    layers, title = record["layers"], record["title"]
    places = _places(layers)
    count = sum(len(layer["shown"]) for layer in layers)
    shown = sum(len(e["edges"]) for e in record["edges"])
    facts = f"{record['neurons']} neurons in {len(layers)} layers · {record['weights']} numbers"
    alt = f"Neurons of {title} in columns from input to output: " + ", ".join(
        f"{layer['name']} ({layer['size']} {layer['kind']})" for layer in layers
    )
    every = sum(e["count"] for e in record["edges"])
    words = (
        f"Drawn: {count} of {record['neurons']} neurons, evenly spaced in a layer, and the {shown} largest of {every} "
        "edges. Where a kernel or several positions join two neurons, the line is their root mean square."
    )
    main: list[Any] = [
        element("div", element("div", id="neurons", class_="plot", role="img", aria_label=alt), class_="wide"),
        element("ul", [*_signs_key(record), *_kinds_key(layers)], class_="key", aria_label="Key"),
        element("p", words, class_="end"),
        *_unknown(record),
        element("h3", "Layers"),
        element("div", _layers(layers), class_="scroll"),
        element(
            "details",
            element("summary", "Every tensor, axis by axis"),
            element("div", _tensors(record), class_="scroll"),
        ),
    ]
    width = WIDE * (1 + max(layer["column"] for layer in layers))
    return standalone(
        f"Neurons: {title}",
        [element("h1", f"Neurons: {title}"), element("p", facts, class_="facts")],
        main,
        still({"neurons": {"data": [*_lines(record, places), *_nodes(layers, places)], "layout": _layout(layers)}}),
        style=STYLE.replace("MIN", str(width)),
    )


def _places(layers: Sequence[Mapping[str, Any]]) -> dict[int, tuple[float, float]]:
    """Where each shown neuron is drawn: layers of one column above each other, each over its share of the height."""
    found: dict[int, tuple[float, float]] = {}
    offset = 0
    starts = []
    for layer in layers:
        starts.append(offset)
        offset += layer["size"]
    for column in sorted({layer["column"] for layer in layers}):
        members = [i for i, layer in enumerate(layers) if layer["column"] == column]
        total = sum(len(layers[i]["shown"]) for i in members) + len(members)
        top = total / 2
        for i in members:
            for place in layers[i]["shown"]:
                found[starts[i] + place] = (float(column), top)
                top -= 1
            top -= 1
    return {number: (x, round(y, 3)) for number, (x, y) in _scaled(found).items()}


def _scaled(places: dict[int, tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """Every column over the whole height, small layers less so."""
    by: dict[float, list[int]] = {}
    for number, (x, _) in places.items():
        by.setdefault(x, []).append(number)
    found: dict[int, tuple[float, float]] = {}
    for x, numbers in by.items():
        ys = [places[n][1] for n in numbers]
        middle, half = (max(ys) + min(ys)) / 2, (max(ys) - min(ys)) / 2 or 1.0
        reach = min(1.0, 0.25 + half / 12)
        found |= {n: (x, reach * (places[n][1] - middle) / half) for n in numbers}
    return found


def _lines(record: Mapping[str, Any], places: Mapping[int, tuple[float, float]]) -> list[dict[str, Any]]:
    """Weak lines first, strong ones on top."""
    paths: dict[tuple[str, int], tuple[list[float | None], list[float | None]]] = {}
    for tensor in record["edges"]:
        largest = tensor["largest"] or 1.0
        for start, end, value in tensor["edges"]:
            sign = ("-" if value < 0 else "+") if tensor["single"] else ""
            strength = next(i for i, (least, _, _) in enumerate(BINS) if abs(value) / largest >= least)
            xs, ys = paths.setdefault((sign, strength), ([], []))
            (x, y), (u, v) = places[start], places[end]
            if u > x:
                xs += [x, u, None]
                ys += [y, v, None]
            else:  # back, or within a layer: around the right
                side = max(x, u) + 0.3
                xs += [x, side, u, None]
                ys += [y, round((y + v) / 2, 3), v, None]
    traces = []
    for (sign, strength), (xs, ys) in sorted(paths.items(), key=lambda item: (-item[0][1], item[0][0])):
        _, alpha, width = BINS[strength]
        line = {"color": colour(SIGNS[sign][0], alpha), "width": width}
        traces.append({"type": "scatter", "mode": "lines", "x": xs, "y": ys, "line": line, "hoverinfo": "skip"})
    return traces


def _nodes(layers: Sequence[Mapping[str, Any]], places: Mapping[int, tuple[float, float]]) -> list[dict[str, Any]]:
    traces, offset = [], 0
    for layer in layers:
        symbol, number, _ = KINDS[layer["kind"]]
        spots = [places[offset + place] for place in layer["shown"]]
        marker: dict[str, Any] = {"symbol": symbol, "size": 7, "color": colour(number)}
        if symbol.endswith("-thin"):
            marker["line"] = {"width": 1.6, "color": colour(number)}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [x for x, _ in spots],
                "y": [y for _, y in spots],
                "marker": marker,
                "text": [
                    f"{layer['name']}, {place + 1} of {layer['size']} ({layer['kind']})" for place in layer["shown"]
                ],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
        offset += layer["size"]
    return traces


def _layout(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = max(layer["column"] for layer in layers)
    bare = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "showline": False}
    notes = [
        {
            "x": column,
            "y": 1.12,
            "text": "<br>".join(_short(layer["name"]) for layer in layers if layer["column"] == column),
            "showarrow": False,
            "textangle": -40,
            "xanchor": "left",
            "yanchor": "bottom",
            "font": {"size": 10},
        }
        for column in range(last + 1)
    ]
    return {
        "margin": {"l": 8, "r": 24, "t": 90, "b": 8},
        "showlegend": False,
        "hovermode": "closest",
        "xaxis": {**bare, "range": [-0.3, last + 0.6]},
        "yaxis": {**bare, "range": [-1.15, 1.15]},
        "annotations": notes,
    }


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _signs_key(record: Mapping[str, Any]) -> list[Html]:
    signed = {bool(e["single"]) for e in record["edges"] if e["edges"]}
    wanted = [*(["+", "-"] if True in signed else []), *([""] if False in signed else [])]
    return [_key(f'M1 7H25" stroke="{colour(SIGNS[s][0])}" stroke-width="2', SIGNS[s][1]) for s in wanted]


def _kinds_key(layers: Sequence[Mapping[str, Any]]) -> list[Html]:
    shapes = {
        "square": "M8 2h10v10h-10z",
        "circle": "M13 2a5 5 0 1 0 .01 0z",
        "diamond": "M13 1l6 6l-6 6l-6-6z",
        "cross-thin": "M8 7h10M13 2v10",
    }
    there = {layer["kind"] for layer in layers}
    found = []
    for kind, (symbol, number, words) in KINDS.items():
        if kind in there:
            ink = colour(number)
            found.append(_key(f'{shapes[symbol]}" fill="{ink}" stroke="{ink}', words))
    return found


def _key(path: str, words: str) -> Html:
    drawing = f'<svg width="26" height="14" aria-hidden="true"><path d="{path}"/></svg>'
    return element("li", Html(drawing), element("span", words))


def _unknown(record: Mapping[str, Any]) -> list[Html]:
    """What the trace could not follow, by name."""
    found = []
    if record["unknown"]:
        rows = [
            element("li", element("code", function), " in ", ", ".join(p or "the model itself" for p in places))
            for function, places in record["unknown"].items()
        ]
        found += [
            element("h3", "Not followed"),
            element("p", "Nothing is known of these functions, so the neurons that go in keep their places."),
            element("ul", rows, class_="isolated"),
        ]
    if record["isolated"]:
        rows = [element("li", element("code", name), f": {why}") for name, why in record["isolated"].items()]
        found += [element("h3", "Isolated parameters"), element("ul", rows, class_="isolated")]
    return found


def _layers(layers: Sequence[Mapping[str, Any]]) -> Html:
    kept = any(layer["kind"] == "fixed" for layer in layers)
    words = ("layer", "neurons", "kind", *(["what keeps them"] if kept else []))
    head = element("tr", [element("th", word, scope="col") for word in words])
    rows = [
        element(
            "tr",
            element("th", element("code", layer["name"]), scope="row"),
            element("td", layer["size"], class_="number"),
            element("td", layer["kind"]),
            element("td", layer["why"] if layer["kind"] == "fixed" else "") if kept else None,
        )
        for layer in layers
    ]
    return element("table", element("thead", head), element("tbody", rows))


def _tensors(record: Mapping[str, Any]) -> Html:
    head = element("tr", [element("th", word, scope="col") for word in ("tensor", "shape", "axes", "largest edge")])
    largest = {e["tensor"]: e["largest"] for e in record["edges"]}
    rows = [
        element(
            "tr",
            element("th", element("code", t["name"]), scope="row"),
            element("td", " x ".join(map(str, t["shape"])) or "one number"),
            element("td", "; ".join(t["axes"])),
            element("td", figure(largest.get(t["name"]))),
        )
        for t in record["tensors"]
    ]
    return element("table", element("thead", head), element("tbody", rows))
