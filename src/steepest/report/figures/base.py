"""What a figure is here, and the traces that several figures share."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from steepest.report.curves import Array, Band, Curve, rounded, thin
from steepest.report.data import Run, Strategy
from steepest.report.style import colour, dash, letter, symbol

Trace = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A figure as plain data for plotly.js, with the words that go with it.

    ``ranges`` holds the y range by axis type ("linear", "log") where it must not follow the data; a figure whose ``scales``
    name both types gets a button that changes between them, and starts with the first.
    """

    title: str
    caption: str
    alt: str
    data: Sequence[Trace]
    x: dict[str, Any] = field(default_factory=dict)
    y: dict[str, Any] = field(default_factory=dict)
    height: int = 300
    scales: tuple[str, ...] = ("linear",)
    ranges: dict[str, list[float]] = field(default_factory=dict)
    layout: dict[str, Any] = field(default_factory=dict)
    wide: bool = False

    def spec(self) -> dict[str, Any]:
        """The figure as plotly.js takes it."""
        scale = self.scales[0]
        y = {"type": scale, **self.y}
        if scale in self.ranges:
            y["range"] = self.ranges[scale]
        layout = {
            "height": self.height,
            "margin": {"l": 48, "r": 12, "t": 8, "b": 40},
            "showlegend": False,
            "hovermode": "x unified",
            "xaxis": self.x,
            "yaxis": y,
            **self.layout,
        }
        return {"data": list(self.data), "layout": layout, "ranges": self.ranges}


def plain(text: str) -> str:
    """Text as plotly shows it literally: its own small markup (``<b>``, ``<a>``) is escaped."""
    return html.escape(text, quote=False)


def short(text: str, length: int = 22) -> str:
    """A label cut to what fits beside an axis.

    >>> short("adamw(lr=3e-3) | warmup_cosine(warmup=0.05)", 16)
    'adamw(lr=3e-3) …'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def handle(strategy: Strategy, length: int = 40) -> str:
    """The letter and the (shortened) label of a strategy, as plotly shows it literally."""
    return plain(f"{letter(strategy.index)}  {short(strategy.label, length)}")


def band_traces(strategy: Strategy, band: Band, points: int, value: str = "%{y:.4g}") -> list[Trace]:
    """Mean line over the range of the seeds; the range is drawn when there are two seeds or more."""
    if not band.n:
        return []
    keep = thin(band.low, band.high, points)
    x = rounded(band.steps[keep], 7)
    group = {"legendgroup": f"s{strategy.index}", "type": "scatter", "mode": "lines", "x": x}
    edge = group | {"line": {"width": 0}, "hoverinfo": "skip"}
    shade: list[Trace] = []
    if band.n > 1 and not np.array_equal(band.low, band.high):
        shade = [
            edge | {"y": rounded(band.low[keep])},
            edge | {"y": rounded(band.high[keep]), "fill": "tonexty", "fillcolor": colour(strategy.index, 0.18)},
        ]
    line = {"color": colour(strategy.index), "dash": dash(strategy.index), "width": 2}
    name = {"name": handle(strategy), "hovertemplate": value}
    return [*shade, group | name | {"y": rounded(band.mean[keep]), "line": line}]


def lone_traces(run: Run, curve: Curve, points: int, ceiling: float | None) -> list[Trace]:
    """A run outside the band (diverged, failed, stopped, unfinished): a thin line, and a mark where it ended.

    The mark is an x for a run that diverged or failed, a ring for one that merely has not reached the end; above
    ``ceiling`` it is held at the ceiling so that it stays in sight.
    """
    curve = curve.finite()
    if not len(curve.steps):
        return []
    keep = thin(curve.values, curve.values, max(points // 2, 12))
    end = float(curve.values[-1]) if ceiling is None else min(float(curve.values[-1]), ceiling)
    index = run.strategy.index
    group = {"legendgroup": f"s{index}", "type": "scatter"}
    line = {"color": colour(index, 0.7), "width": 1, "dash": dash(index)}
    broken = run.status in ("diverged", "failed")
    mark = {"symbol": "x" if broken else "circle-open", "size": 9, "color": colour(index)}
    note = f"{handle(run.strategy)}, seed {run.seed}: {run.status} at step {run.last_step}"
    return [
        group
        | {"mode": "lines", "x": rounded(curve.steps[keep], 7), "y": rounded(curve.values[keep]), "line": line}
        | {"hoverinfo": "skip"},
        group
        | {"mode": "markers", "x": [float(curve.steps[-1])], "y": [end], "marker": mark, "name": note}
        | {"hovertemplate": "%{y:.3g}", "cliponaxis": False},
    ]


def scales(bands: Iterable[Band], log_first_from: float = 8.0) -> tuple[str, ...]:
    """Axis types to offer: log only where all values are positive, and first where they span a factor of 8 or more."""
    values = [array for band in bands for array in (band.low, band.high) if len(array)]
    if not values:
        return ("linear",)
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    if low <= 0:
        return ("linear",)
    return ("log", "linear") if high / low >= log_first_from else ("linear", "log")


def frame(inside: Sequence[Array], outside: Sequence[Array]) -> tuple[dict[str, list[float]], float | None]:
    """Ranges of y by axis type, and the ceiling, when runs outside the band would squash it; nothing when they do not.

    The frame reaches twice as high as the band's largest value (without a band: ten times the first values).
    """
    inside = [kept for values in inside if len(kept := values[np.isfinite(values)])]
    outside = [kept for values in outside if len(kept := values[np.isfinite(values)])]
    if not outside:
        return {}, None
    if inside:
        low, ceiling = min(float(v.min()) for v in inside), 2 * max(float(v.max()) for v in inside)
    else:
        low, ceiling = min(float(v.min()) for v in outside), 10 * max(abs(float(v[0])) for v in outside)
    if ceiling <= low or max(float(v.max()) for v in outside) <= ceiling:
        return {}, None
    ranges = {"linear": [low - 0.04 * (ceiling - low), ceiling]}
    if low > 0:
        ranges["log"] = [float(np.log10(low)) - 0.05, float(np.log10(ceiling))]
    return ranges, ceiling


def markers(index: int, size: int = 9) -> dict[str, Any]:
    """The marker of the strategy at this place."""
    return {"color": colour(index), "symbol": symbol(index), "size": size, "opacity": 0.85}
