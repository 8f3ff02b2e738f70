"""What one optimizer has gathered, handed to another that runs the same rules with other hyperparameters."""

from __future__ import annotations

import copy
from typing import Any

CARRIED = ("steps", "skipped_steps", "evaluations", "memory")
"""Beside the state of the parameters: counts, which place the schedule, and what links share over the model."""


def carry(optimizer: Any, saved: dict[str, Any]) -> None:
    """Give an optimizer the state in another's ``state_dict()``; its hyperparameters stay its own."""
    own, there = optimizer.state_dict(), copy.deepcopy(saved)
    own["state"] = there["state"]
    for name in CARRIED:
        if name in there.get("steepest", {}):
            own["steepest"][name] = there["steepest"][name]
    optimizer.load_state_dict(own)
