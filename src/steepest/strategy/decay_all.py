"""Weight decay on every parameter, biases and normalisation parameters too."""

from __future__ import annotations

from dataclasses import dataclass

from steepest.core.piece import piece


@dataclass(frozen=True)
class DecayAll:
    """Marks a strategy whose weight decay spares nothing."""


@piece("groups")
def decay_all() -> DecayAll:
    """Decay every parameter; without this piece biases, normalisation parameters and other vectors are spared."""
    return DecayAll()
