"""flower: the same federation on real machines, as a Flower app.

What is here needs the extra ``steepest[federated]``; writing an app (:mod:`~steepest.federated.flower.app`) does not.
"""

from __future__ import annotations

import importlib
from typing import Any

from steepest.federated.errors import FederationError

HERE = {"Steepest": "strategy", "client_app": "client", "server_app": "server"}


def __getattr__(name: str) -> Any:
    if name not in HERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{HERE[name]}"), name)
    except ModuleNotFoundError as error:
        raise FederationError(
            f"{name} is for Flower, which is not here ({error}): pip install 'steepest[federated]'."
        ) from None
