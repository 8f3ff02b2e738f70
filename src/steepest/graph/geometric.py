"""The guest: torch_geometric, imported when a task or a model needs it."""

from __future__ import annotations

import functools
import importlib
import warnings
from typing import Any

from steepest.tasks.registry import guest


@functools.cache
def geometric(part: str) -> Any:
    """A part of torch_geometric, ``"nn"`` or ``"datasets"``; an error that says how to install it where it is missing.

    Its import takes some seconds, and warns of what it uses of torch that is deprecated: no news to who trains.
    """
    with guest("torch_geometric", extra="graph"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(f"torch_geometric.{part}")
