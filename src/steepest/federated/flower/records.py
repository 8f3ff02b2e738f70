"""Arrays and plain values as Flower's records, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from steepest.federated.flower.wire import Arrays


def content(arrays: Arrays, values: Mapping[str, Any] | None = None, examples: int = 0) -> RecordDict:
    """What a message holds."""
    held = {name: Array(np.ascontiguousarray(a)) for name, a in arrays.items()}
    found = {"arrays": ArrayRecord(held), "metrics": MetricRecord({"num-examples": examples})}
    return RecordDict({**found, "config": ConfigRecord({**values})} if values is not None else found)


def arrays_of(record: RecordDict) -> Arrays:
    """The arrays of a message."""
    return {name: a.numpy() for name, a in record["arrays"].items()}
