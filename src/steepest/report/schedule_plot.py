"""Schedules on one plot: a self-contained page, and a rendering for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from steepest.core.errors import HyperparameterError
from steepest.core.letters import letter
from steepest.core.records import write_bytes
from steepest.report.braille import braille
from steepest.report.curves import Array, rounded, thin
from steepest.report.html import Html, element
from steepest.report.standalone import STROKES, standalone, still
from steepest.report.style import DASHES, colour, ink

LOOKED_AT = 20_000
"""Most steps at which a schedule is computed; a longer training is looked at in even strides."""
POINTS = 1_200
"""Most points of a line on the page."""


class Plottable(Protocol):
    """What can be drawn: a schedule, seen from here."""

    @property
    def on(self) -> str:
        """The hyperparameter that it moves."""

    def function(self, total: int | None = None, epoch: int | None = None) -> Callable[[int], float]:
        """The factor as a function of the step."""


@dataclass(frozen=True)
class Line:
    """A schedule on a plot: its place among the others, its name, and its values at the steps that were looked at."""

    index: int
    label: str
    on: str
    steps: Array
    values: Array

    @property
    def letter(self) -> str:
        """What tells it from the others without colour."""
        return letter(self.index)

    @property
    def dash(self) -> str:
        """Another dash for each neighbour; with the colours, 28 lines differ."""
        return DASHES[self.index % len(DASHES)]

    def facts(self) -> str:
        """Where it starts, where it is highest, where it ends.

        >>> Line(0, "x", "lr", np.arange(3.0), np.array([0.5, 1.0, 0.25])).facts()
        'starts at 0.5, highest 1 at step 1, ends at 0.25'
        """
        first, last, top = float(self.values[0]), float(self.values[-1]), int(self.values.argmax())
        words = [f"starts at {first:.3g}", f"highest {self.values[top]:.3g} at step {int(self.steps[top])}"]
        return ", ".join(
            [words[0], *([words[1]] if self.values[top] > max(first, last) else []), f"ends at {last:.3g}"]
        )


def lines(
    items: Sequence[tuple[str, Plottable]], total: int, epoch: int | None = None, base: float = 1.0
) -> list[Line]:
    """The values of schedules over a training of ``total`` steps; at most :data:`LOOKED_AT` of them."""
    if not items:
        raise HyperparameterError('nothing to plot; give schedules such as "cosine" or "warmup_cosine(warmup=0.05)".')
    if total < 1:
        raise HyperparameterError(f"a plot needs at least one step; got {total!r}.")
    steps = np.unique(np.linspace(0, total - 1, min(total, LOOKED_AT)).round())
    found = []
    for index, (label, schedule) in enumerate(items):
        factor = schedule.function(total, epoch)
        values = np.array([base * factor(int(t)) for t in steps])
        if not np.isfinite(values).all():
            raise HyperparameterError(f"{label} is not finite at step {int(steps[~np.isfinite(values)][0])}.")
        found.append(Line(index, label, schedule.on, steps, values))
    return found


def plot_schedules(
    items: Sequence[tuple[str, Plottable]],
    total: int,
    epoch: int | None = None,
    path: str | Path | None = None,
    base: float = 1.0,
) -> str:
    """Draw schedules on one plot: a page with everything inside, written to ``path`` when one is given.

    Args:
        items: Labels with schedules.
        total: Steps of the training.
        epoch: Steps in an epoch, for schedules that count epochs.
        path: The HTML file; its folder is made where needed.
        base: What the factors are multiplied by; with 1 the factors themselves are drawn.

    Returns:
        The page.
    """
    page = _page(lines(items, total, epoch, base), total, epoch, base)
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(Path(path), page.encode())
    return page


def schedule_text(
    items: Sequence[tuple[str, Plottable]],
    total: int,
    epoch: int | None = None,
    base: float = 1.0,
    width: int = 72,
    height: int = 4,
) -> str:
    """Draw schedules for a terminal, one below the other on one scale.

    Args:
        items: Labels with schedules.
        total: Steps of the training.
        epoch: Steps in an epoch, for schedules that count epochs.
        base: What the factors are multiplied by.
        width: Characters across, at least 24.
        height: Lines of each schedule.
    """
    drawn = lines(items, total, epoch, base)
    low, high = _range(drawn)
    labels = [f"{high:.3g}", *[""] * (height - 2), f"{low:.3g}"] if height > 1 else [f"{high:.3g}"]
    margin = max(map(len, labels))
    across = max(12, width - margin - 2)
    parts = []
    for line in drawn:
        chart = braille(line.values.tolist(), low, high, across, height)
        rows = [f"{label:>{margin}} ┤{dots}" for label, dots in zip(labels, chart, strict=True)]
        parts.append("\n".join([f"{line.letter}  {line.label}", f"   {line.facts()}", *rows]))
    first, last = "0", f"step {total - 1}"
    axis = f"{'':>{margin}} └{first}{'─' * max(1, across - len(first) - len(last))}{last}"
    return "\n\n".join(parts) + f"\n{axis}"


def _range(drawn: Sequence[Line]) -> tuple[float, float]:
    """From 0, unless all values are far above it and close together."""
    low, high = min(float(x.values.min()) for x in drawn), max(float(x.values.max()) for x in drawn)
    return (low if low > 0.8 * high and low < high else min(0.0, low)), high or 1.0


def _page(drawn: Sequence[Line], total: int, epoch: int | None, base: float) -> str:
    moved = sorted({line.on for line in drawn})
    what = f"{' and '.join(moved)}{'' if base != 1.0 else ', relative to its base'}"
    facts = f"{total} step{'s' if total != 1 else ''}"
    if epoch is not None:
        facts += f" · {epoch} in an epoch, {total / epoch:.4g} epochs"
    if base != 1.0:
        facts += f" · base {base:.4g}"
    alt = f"Line plot of {what} over {facts}. " + " ".join(f"{x.letter}, {x.label}: {x.facts()}." for x in drawn)
    return standalone(
        "Schedules",
        [element("h1", "Schedules"), element("p", f"{what} · {facts}", class_="facts")],
        [
            element("div", id="plot", class_="plot", role="img", aria_label=alt),
            element("ul", [_key(line) for line in drawn], class_="key", aria_label="Key"),
            element("details", element("summary", "Values as a table"), _table(drawn, total)),
        ],
        still({"plot": _figure(drawn, base)}),
    )


def _key(line: Line) -> Html:
    """A line of the key: the stroke as drawn, the letter, the label and the facts."""
    stroke = element(
        "line",
        x1=1,
        y1=8,
        x2=43,
        y2=8,
        stroke=colour(line.index),
        stroke_width="2.5",
        stroke_dasharray=STROKES[line.dash],
    )
    style = f"background:{colour(line.index)};color:{ink(line.index)}"
    return element(
        "li",
        element("svg", stroke, width=44, height=16, aria_hidden="true"),
        element("span", line.letter, class_="chip", style=style),
        element("span", element("code", line.label), element("br"), element("span", line.facts(), class_="end")),
    )


def _table(drawn: Sequence[Line], total: int) -> Html:
    """Eleven moments, one column a schedule."""
    head = element("tr", element("th", "step", scope="col"), [_head(line) for line in drawn])
    caption = element("caption", f"Values at even distances over {total} steps")
    return element(
        "div",
        element("table", caption, element("thead", head), element("tbody", list(_rows(drawn)))),
        class_="scroll",
        tabindex=0,
    )


def _head(line: Line) -> Html:
    return element("th", line.letter, scope="col", class_="number", abbr=line.label)


def _rows(drawn: Sequence[Line]) -> Iterator[Html]:
    n = len(drawn[0].steps)
    for i in np.unique(np.linspace(0, n - 1, min(11, n)).round().astype(int)):
        cells = [element("td", f"{line.values[i]:.4g}", class_="number") for line in drawn]
        yield element("tr", element("th", int(drawn[0].steps[i]), scope="row"), cells)


def _figure(drawn: Sequence[Line], base: float) -> dict[str, Any]:
    """The plot as plain data for plotly.js: a line for each schedule, and its letter on it."""
    traces: list[dict[str, Any]] = []
    for line in drawn:
        keep = thin(line.values, line.values, POINTS)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": rounded(line.steps[keep], 9),
                "y": rounded(line.values[keep], 6),
                "line": {"color": colour(line.index), "dash": line.dash, "width": 2.5},
                "name": line.letter,
                "hovertemplate": "%{y:.4g}",
            }
        )
    for line in drawn:
        at = int((line.index + 0.5) / len(drawn) * (len(line.steps) - 1))
        mark = {"size": 18, "color": colour(line.index), "line": {"width": 0}}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "x": rounded(line.steps[[at]], 9),
                "y": rounded(line.values[[at]], 6),
                "text": [line.letter],
                "textfont": {"color": ink(line.index), "size": 11},
                "marker": mark,
                "hoverinfo": "skip",
                "cliponaxis": False,
            }
        )
    low, high = _range(drawn)
    room = 0.04 * ((high - low) or 1.0)
    what = " and ".join(sorted({line.on for line in drawn}))
    layout = {
        "margin": {"l": 48, "r": 14, "t": 10, "b": 44},
        "showlegend": False,
        "hovermode": "x unified",
        "xaxis": {"title": {"text": "step"}, "rangemode": "tozero", "exponentformat": "none"},
        "yaxis": {"title": {"text": f"factor of {what}" if base == 1.0 else what}, "range": [low - room, high + room]},
    }
    return {"data": traces, "layout": layout}
