"""What a federation raises on purpose."""

from __future__ import annotations

from steepest.core.errors import SteepestError


class FederationError(SteepestError, ValueError):
    """A federation that cannot be run as it is described; the message says what was given and what to do."""
