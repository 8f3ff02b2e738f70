"""What was measured on the built-in tasks: what they cost, and what a good result is.

Data, and the scripts that made it: ``costs.json`` by ``benchmarks/tasks.py``, ``targets.json`` by
``benchmarks/targets.py``.
"""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any


@functools.cache
def table(name: str) -> dict[str, Any]:
    """The content of ``costs.json`` or ``targets.json``; empty before anything was measured."""
    place = files("steepest.tasks") / f"{name}.json"
    return dict(json.loads(place.read_text())) if place.is_file() else {}


def cost(task: str) -> dict[str, Any] | None:
    """Parameters, floating-point operations and seconds of a built-in task; None where none was measured.

    >>> found = cost("digits-mlp")
    >>> found["parameters"], found["run_s"] > 0
    (26122, True)
    """
    found: dict[str, Any] | None = table("costs").get("tasks", {}).get(task)
    return found


def target(task: str) -> float | None:
    """The value of the metric that counts as solved; None where no target was measured yet."""
    found = table("targets").get(task)
    return None if found is None else float(found["target"])
