"""How several tasks get on: a page, from a record of kind "tasks" alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from steepest.report.html import Html, element
from steepest.report.standalone import standalone, still
from steepest.report.tasks_figures import arms, graph, heat
from steepest.report.tasks_text import SHOWN, letter, order, tried

STYLE = """
.square { height: min(34rem, 92vw); max-width: 40rem; }
.arms { height: max(16rem, calc(2.1rem * var(--rows) + 6rem)); }
.sentences li { max-width: 60rem; }
"""


def tasks_page(record: Mapping[str, Any]) -> str:
    """The page of a record of kind "tasks"."""
    names = record["names"]
    facts = (
        f"{record['strategy']} · {record['parameters']} parameters · {record['seeds']} seeds, "
        f"{len(record['moments'])} looks in {record['steps']} steps"
    )
    data = {"graph": graph(record), "heat": heat(record)}
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
        data["arms"] = arms(record)
        main += [
            element("h2", "What pays"),
            element(
                "div",
                id="arms",
                class_="plot arms",
                style=f"--rows: {len(record['trial'])}",
                role="img",
                aria_label="Losses of each way against those of the sum. "
                + "; ".join(" ".join(tried(r)) for r in record["trial"]),
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
        list(map(tried, record["trial"])),
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
