"""How several tasks get on: a page and a table for the terminal, from a record of kind "tasks" alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from steepest.report.html import Html, element
from steepest.report.standalone import standalone, still
from steepest.report.style import SYMBOLS, colour, ink, symbol

AGAINST, TOGETHER = "#D55E00", "#0072B2"
SCALE = [[0, AGAINST], [0.25, "#EFAE80"], [0.5, "#F4F4F2"], [0.75, "#7FB6D8"], [1, TOGETHER]]
SHOWN = 0.15
"""Affinities smaller than this are no edge of the graph."""
FEW = 12
"""Up to so many tasks the cells of the heat map have their numbers in them."""
STYLE = """
.square { height: min(34rem, 92vw); max-width: 40rem; }
.arms { height: max(16rem, calc(2.1rem * var(--rows) + 6rem)); }
.sentences li { max-width: 60rem; }
"""


def order(record: Mapping[str, Any]) -> list[int]:
    """Tasks with those of their cluster beside them.

    >>> order({"clusters": [0, 1, 0]})
    [0, 2, 1]
    """
    labels = record["clusters"]
    return sorted(range(len(labels)), key=lambda i: (labels[i], i))


# -- the terminal ------------------------------------------------------------------------------------------------------


def tasks_text(record: Mapping[str, Any], width: int = 100) -> str:
    """Tables of the tasks, of their affinities and of what was tried, and the verdict."""
    lines = [
        f"{record['task']}: {len(record['names'])} tasks, {record['parameters']} parameters, {record['strategy']}",
        "",
    ]
    head = ["task", "loss, first", "loss, last", "gradient", "noise", "cluster"]
    rows = [
        [
            t["name"],
            f"{t['loss_first']:.3g}",
            f"{t['loss_last']:.3g}",
            f"{t['gradient']:.3g}",
            f"{t['noise']['mean']:.0%}",
            letter(t["cluster"]),
        ]
        for t in record["tasks"]
    ]
    lines += table([head, *rows])
    lines += ["", "affinity: cosines between gradients, noise taken out"]
    lines += matrix(record, width)
    if record["trial"]:
        finals, trials = record["finals"], record["trials"]
        lines += [
            "",
            f"tried: {trials} trials each for the learning rate, then {finals} fresh seeds; losses against the sum",
        ]
        lines += table([["way", "against the sum", "95 %", "time", "pays"], *map(_tried, record["trial"])])
    lines += [""]
    for sentence in record["verdict"]:
        lines += wrapped(sentence, width)
    return "\n".join(lines)


def matrix(record: Mapping[str, Any], width: int) -> list[str]:
    """The affinities as numbers, or as signs where numbers do not fit."""
    names, A, places = record["names"], record["affinity"], order(record)
    longest = max(map(len, names))
    if longest + 6 * len(names) <= width and len(names) <= FEW:
        head = ["", *(names[j][:5] for j in places)]
        return table([head, *[[names[i], *(f"{A[i][j]:+.2f}" for j in places)] for i in places]])
    lines = [f"{names[i]:>{longest}}  " + "".join(sign(A[i][j]) for j in places) for i in places]
    return [*lines, f"{'':>{longest}}  █ above 0.6  ▓ 0.3  ░ {SHOWN}  · none  − against"]


def sign(value: float) -> str:
    """One character for an affinity.

    >>> "".join(map(sign, (0.9, 0.4, 0.2, 0.0, -0.5)))
    '█▓░·−'
    """
    return "█" if value > 0.6 else "▓" if value > 0.3 else "░" if value > SHOWN else "−" if value < -SHOWN else "·"


def letter(cluster: int) -> str:
    """A cluster as a letter: A, B, ..., Z, A1, ...

    >>> letter(0), letter(27)
    ('A', 'B1')
    """
    return chr(ord("A") + cluster % 26) + (str(cluster // 26) if cluster >= 26 else "")


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need, the first to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            f"{cell:<{w}}" if k == 0 else f"{cell:>{w}}" for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def wrapped(text: str, width: int) -> list[str]:
    """Lines of words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def change(row: Mapping[str, Any]) -> tuple[float, float | None, float | None] | None:
    """The losses of a way over those of the sum, with the interval; None where there is no such number."""
    against = row.get("against sum")
    if row["name"] == "sum" and row["values"]:
        return 1.0, None, None
    if against is None:
        return None
    ends = [None if v is None else math.exp(v) for v in (against["low"], against["high"])]
    return math.exp(against["mean"]), ends[0], ends[1]


def _tried(row: Mapping[str, Any]) -> list[str]:
    found = change(row)
    if found is None:
        return [row["name"], f"{row['lost']} runs lost" if row["lost"] else "", "", "", ""]
    factor, low, high = found
    span = "" if low is None or high is None else f"{low - 1:+.1%} to {high - 1:+.1%}"
    said = ("yes" if row.get("pays") else "no") if row["compares"] else "best plain" if row["best plain"] else ""
    return [
        row["name"],
        "1" if row["name"] == "sum" else f"{factor - 1:+.1%}",
        span,
        f"{row['cpu_seconds']:.2f} s",
        said,
    ]


# -- the page ----------------------------------------------------------------------------------------------------------


def tasks_page(record: Mapping[str, Any]) -> str:
    """The page of a record of kind "tasks"."""
    names = record["names"]
    facts = (
        f"{record['strategy']} · {record['parameters']} parameters · {record['seeds']} seeds, "
        f"{len(record['moments'])} looks in {record['steps']} steps"
    )
    data = {"graph": _graph(record), "heat": _heat(record)}
    main = [
        element("ul", [element("li", s) for s in record["verdict"]], class_="sentences"),
        element("h2", "Tasks"),
        _tasks(record),
        element("h2", "Who pulls with whom"),
        element("div", id="graph", class_="plot square", role="img", aria_label=_alt(record)),
        element(
            "p",
            f"A line for each affinity beyond {SHOWN:g}, as thick as it is large: blue and solid, both gradients point "
            "the same way; orange and dashed, against each other. Tasks of one cluster stand together and share "
            f"colour, symbol and letter.{'' if data['graph']['data'][1:] else ' Here no affinity is beyond it.'}",
            class_="end",
        ),
        element("div", id="heat", class_="plot square", role="img", aria_label=_alt(record)),
        element(
            "p",
            "Affinity: the cosine between two tasks' gradients of what is shared, averaged over looks and seeds, with "
            "the noise of the batches taken out. Blue: together. Orange: against each other.",
            class_="end",
        ),
        element("details", element("summary", "The affinities as a table"), _numbers(record, "affinity", "Affinity")),
        element(
            "details",
            element("summary", "What a step for one task does to another"),
            element(
                "p",
                "By how much a step for the task of the row, as long as the optimizer's own, lowers the loss of that "
                "of the column, in percent of it.",
            ),
            _numbers(record, "helps", "Lookahead", 100, "{:+.2g}"),
        ),
    ]
    if record["trial"]:
        data["arms"] = _arms(record)
        main += [
            element("h2", "What pays"),
            element(
                "div",
                id="arms",
                class_="plot arms",
                style=f"--rows: {len(record['trial'])}",
                role="img",
                aria_label="Losses of each way against those of the sum. "
                + "; ".join(" ".join(_tried(r)) for r in record["trial"]),
            ),
            element(
                "p",
                "The geometric mean of the losses on validation data over that of the sum, "
                f"{record['finals']} fresh seeds, 95 % intervals of the paired difference. Each way, the sum too, had "
                f"{record['trials']} trials for its learning rate.",
                class_="end",
            ),
            _ways(record),
        ]
    main += [
        element("h2", "To run next"),
        element(
            "pre",
            element(
                "code",
                f"steepest train {shlex.quote(record.get('spelling') or record['task'])} "
                f"-s {shlex.quote(record['recommended'])} --out DIR",
            ),
        ),
    ]
    title = f"{record['task']}: {len(names)} tasks"
    head = [element("h1", title), element("p", facts, class_="facts")]
    return standalone(title, head, main, still(data), style=STYLE)


def _alt(record: Mapping[str, Any]) -> str:
    names, labels, A = record["names"], record["clusters"], record["affinity"]
    m = len(names)
    pairs = sorted(((A[i][j], names[i], names[j]) for i in range(m) for j in range(i + 1, m)), reverse=True)
    high, low = pairs[0], pairs[-1]
    return (
        f"Affinities of {m} tasks in {len(set(labels))} clusters. Largest: {high[1]} and {high[2]}, {high[0]:.2f}. "
        f"Smallest: {low[1]} and {low[2]}, {low[0]:.2f}. The numbers are in the table below."
    )


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


def _graph(record: Mapping[str, Any]) -> dict[str, Any]:
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


def _heat(record: Mapping[str, Any]) -> dict[str, Any]:
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


def _arms(record: Mapping[str, Any]) -> dict[str, Any]:
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


def _tasks(record: Mapping[str, Any]) -> Html:
    rows = []
    for t in record["tasks"]:
        noise = t["noise"]
        span = "" if noise["low"] is None else f" ({max(0.0, noise['low']):.0%} to {min(1.0, noise['high']):.0%})"
        cells = [
            f"{t['loss_first']:.4g}",
            f"{t['loss_last']:.4g}",
            f"{t['gradient']:.3g}",
            f"{noise['mean']:.0%}{span}",
            letter(t["cluster"]),
        ]
        rows.append([t["name"], *cells])
    return grid(
        "Tasks",
        ["task", "loss, first look", "loss, last look", "length of the gradient", "noise in it", "cluster"],
        rows,
    )


def _numbers(record: Mapping[str, Any], what: str, caption: str, factor: float = 1.0, form: str = "{:.2f}") -> Html:
    names, ordered = record["names"], order(record)
    rows = [[names[i], *(form.format(factor * record[what][i][j]) for j in ordered)] for i in ordered]
    return grid(caption, ["", *(names[j] for j in ordered)], rows)


def _ways(record: Mapping[str, Any]) -> Html:
    return grid(
        "Ways to combine the losses",
        ["way", "losses against the sum", "95 % interval", "CPU time of a run", ""],
        list(map(_tried, record["trial"])),
    )


def grid(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A table that scrolls where it is too wide."""
    top = element(
        "tr", [element("th", name, scope="col", class_="number" if k else None) for k, name in enumerate(head)]
    )
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", cell, class_="number") for cell in row[1:]])
        for row in rows
    ]
    made = element("table", element("caption", caption), element("thead", top), element("tbody", body))
    return element("div", made, class_="scroll", tabindex=0)
