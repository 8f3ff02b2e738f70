"""A page about one thing, with everything inside: its head, its style, plotly and the data of its figures."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from steepest.report.html import Child, Html, element, script_json
from steepest.report.page import plotly_source
from steepest.report.style import FONT, TEMPLATES

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

STYLE = """
body { padding-bottom: 2rem; }
header { padding-top: 1.2rem; }
.key { list-style: none; margin: .8rem 0 .2rem; padding: 0; display: grid; gap: .3rem 1.6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
.key li { display: flex; gap: .55rem; align-items: center; margin: 0; max-width: none; }
.key svg { flex: none; }
.key code { overflow-wrap: anywhere; }
.plot { height: max(20rem, min(34rem, 62vh)); width: 100%; }
details { margin: .6rem 0; }
summary { cursor: pointer; padding: .3rem 0; }
thead th { padding: .5rem .65rem; }
td.number, th.number { text-align: right; }
.end { color: var(--soft); font-size: .85rem; }
@media (max-width: 46rem) { body { padding-left: .8rem; padding-right: .8rem; } .plot { height: 21rem; } }
"""
STROKES = {"solid": "none", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}
"""The dashes of plotly as SVG has them."""


def standalone(title: str, header: Child, main: Child, data: dict[str, Any], *, style: str = "") -> str:
    """The whole page as text.

    Args:
        title: Of the window.
        header: What stands above.
        main: The content, with an element for each figure.
        data: What ``figures.js`` reads, see :func:`still`; the templates of both colour schemes are added.
        style: Rules beside the common ones.
    """
    body = element(
        "body",
        element("header", header),
        element("main", main),
        element("noscript", "The plot is drawn by a script inside this file; the key and the table need none."),
        element("script", Html(plotly_source().replace("</script", "<\\/script"))),
        element("script", script_json({"templates": TEMPLATES, **data}), type="application/json", id="data"),
        element("script", Html(asset("figures.js"))),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} · steepest"),
        element("style", Html(asset("page.css").replace("FONT", FONT) + STYLE + style)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def still(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The data of figures in which nothing moves, by the name of their element, as ``figures.js`` reads it."""
    plain = {name: {**figure, "moving": [], "heights": []} for name, figure in figures.items()}
    return {"figures": plain, "scales": {}, "moments": []}


def asset(name: str) -> str:
    """A file that lies beside this one."""
    return (resources.files("steepest.report") / name).read_text(encoding="utf-8")
