"""From a record to a file: a page, an image, an animation, or the record itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from steepest.core.errors import RecordError, did_you_mean
from steepest.core.records import plain, read_json, write_bytes
from steepest.report.batchnorm import batchnorm_page
from steepest.report.landscape import landscape_page, path_page
from steepest.report.neurons_page import neurons_page
from steepest.report.range_page import range_page
from steepest.report.tasks_page import tasks_page

PAGES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "landscape": landscape_page,
    "surface": landscape_page,
    "plane": landscape_page,
    "path": path_page,
    "lr-find": range_page,
    "batchnorm": batchnorm_page,
    "neurons": neurons_page,
    "tasks": tasks_page,
}
"""Which page belongs to which kind of record."""
FORMATS = (".html", ".json", ".png", ".gif")


def draw(picture: Any, path: str | Path) -> Path:
    """Write a picture, the result of ``lr_find`` or the steps of a batch-norm layer as the ending of the path says.

    Args:
        picture: What ``st.landscape``, ``st.lr_find`` or ``explain_batchnorm`` returned, its record, or the path of a
            record.
        path: ``.html``: a page with everything inside; ``.json``: the record, from which the others can be drawn again;
            ``.png``, ``.gif``: an image of the contours with the ways, the latter animated.
    """
    path = Path(path)
    record = _record(picture)
    kind = record.get("kind")
    if kind not in PAGES:
        raise RecordError(f"a record of kind {kind!r} cannot be drawn. {did_you_mean(str(kind), PAGES)}")
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise RecordError(f"cannot draw {path.name!r}: the name must end in one of {', '.join(FORMATS)}.")
    if ending == ".html":
        data = PAGES[kind](record).encode()
    elif ending == ".json":
        data = json.dumps(plain(record), allow_nan=False).encode()
    else:
        from steepest.report.image import image

        data = image(record, animated=ending == ".gif")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)
    return path


def _record(picture: Any) -> dict[str, Any]:
    if isinstance(picture, str | Path):
        return read_json(Path(picture))
    found = picture if isinstance(picture, Mapping) else getattr(picture, "record", None)
    if not isinstance(found, Mapping):
        raise RecordError(
            f"a {type(picture).__name__} is no picture. Give what landscape, lr_find, advise or explain_batchnorm "
            "returned."
        )
    return dict(found)
