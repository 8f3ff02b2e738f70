"""One visual style: the colour, dash, symbol and letter of a strategy everywhere; figures in light and in dark.

Colours are Okabe and Ito's (2008, "Color Universal Design"), which stay apart under the common forms of colour
blindness; their black is a mid grey here, so that it shows on light and dark paper, and their yellow, too pale on
white, is left out. Past seven strategies the colours repeat with another dash and symbol, so no two strategies look
alike before the 29th; every strategy has a letter as well, so nothing depends on colour alone.
"""

from __future__ import annotations

from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808790")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "diamond", "square", "triangle-up")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', sans-serif"


def colour(index: int, alpha: float | None = None) -> str:
    """The colour of the strategy at this place, as hex, or as rgba where an opacity is given.

    >>> colour(0), colour(7) == colour(0), colour(1, 0.2)
    ('#0072B2', True, 'rgba(213,94,0,0.2)')
    """
    code = COLOURS[index % len(COLOURS)]
    if alpha is None:
        return code
    red, green, blue = (int(code[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def dash(index: int) -> str:
    """The dash of the strategy at this place: changes each time the colours start again."""
    return DASHES[index // len(COLOURS) % len(DASHES)]


def symbol(index: int) -> str:
    """The marker symbol of the strategy at this place: changes each time the colours start again."""
    return SYMBOLS[index // len(COLOURS) % len(SYMBOLS)]


def ink(index: int) -> str:
    """Black or white, whichever has the larger contrast on the strategy's colour (WCAG 2 relative luminance).

    >>> ink(0), ink(4)
    ('#ffffff', '#000000')
    """
    code = COLOURS[index % len(COLOURS)]
    channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def _template(dark: str, soft: str, grid: str, paper: str) -> dict[str, Any]:
    axis = {
        "gridcolor": grid,
        "linecolor": soft,
        "tickcolor": soft,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickfont": {"color": soft, "size": 12},
        "title": {"font": {"color": soft, "size": 12}, "standoff": 8},
        "automargin": True,
        "exponentformat": "power",
    }
    return {
        "layout": {
            "font": {"family": FONT, "color": dark, "size": 13},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis | {"showgrid": False},
            "yaxis": axis,
            "hoverlabel": {
                "bgcolor": paper,
                "bordercolor": grid,
                "font": {"color": dark, "size": 12},
                "namelength": 40,
            },
            "annotationdefaults": {"font": {"color": soft, "size": 12}, "showarrow": False},
            "shapedefaults": {"line": {"color": soft, "width": 1}},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": soft, "activecolor": dark},
        }
    }


TEMPLATES: dict[str, dict[str, Any]] = {
    "light": _template(dark="#1b1f24", soft="#57606a", grid="#e4e7eb", paper="#ffffff"),
    "dark": _template(dark="#e6e9ed", soft="#9aa4af", grid="#2c333b", paper="#1b2027"),
}
