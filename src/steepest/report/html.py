"""HTML that is safe by construction: every plain string is escaped, only :class:`Html` passes through.

``element("td", label)`` cannot inject anything, whatever the label holds; data for scripts goes through
:func:`script_json`.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any, TypeAlias

from steepest.core.records import plain


class Html(str):
    """Text that is already markup. Made by :func:`element`; made by hand only from constants of this package."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"

_VOID = frozenset({"br", "hr", "input", "link", "meta"})


def render_child(child: Child) -> str:
    """Markup of one child: markup as it is, text escaped, nothing for None, and sequences joined."""
    if child is None:
        return ""
    if isinstance(child, Html):
        return str(child)
    if isinstance(child, str | int):
        return html.escape(str(child))
    return "".join(render_child(part) for part in child)


def element(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Html:
    """One element; ``class_`` becomes ``class``, ``data_sort`` becomes ``data-sort``; None and False drop an attribute.

    >>> element("td", "a < b", class_="wide", data_sort=3)
    '<td class="wide" data-sort="3">a &lt; b</td>'
    >>> element("p", ["1", element("b", "2")], hidden=True)
    '<p hidden>1<b>2</b></p>'
    """
    parts = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(key)
        elif value is not None and value is not False:
            parts.append(f'{key}="{html.escape(str(value))}"')
    start = f"<{' '.join(parts)}>"
    return Html(start if name in _VOID else f"{start}{render_child(children)}</{name}>")


def script_json(value: Any) -> Html:
    r"""JSON that may stand inside a ``<script>`` element: no text in it can end the element or open a comment.

    >>> script_json(["</script>"])
    '["\\u003c/script\\u003e"]'
    """
    text = json.dumps(plain(value), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(text)
