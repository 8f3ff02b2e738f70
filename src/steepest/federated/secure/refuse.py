"""Combinations that need more than a sum: refused by name."""

from __future__ import annotations

from typing import Any

from steepest.federated.errors import FederationError
from steepest.federated.privacy.refuse import NORMS, more_than_the_mean
from steepest.federated.robust import Mean


def refuse(fed: Any) -> None:
    """An error that names what does not go together with secure sums."""
    s, method = fed.settings, fed.method
    if s.secure is None:
        return

    def no(why: str, instead: str) -> FederationError:
        return FederationError(f"with secure sums the server sees no single update, and {why} {instead}")

    if (found := more_than_the_mean(method)) is not None:
        raise no(f"{method.name} {found}.", "Take fedavg or fedprox, with any client and server.")
    if s.aggregate is not None and not isinstance(s.aggregate, Mean):
        raise no(f"aggregate={str(s.aggregate)!r} has to.", "Leave it out, or sum in the open.")
    if s.compress is not None and not s.compress.linear:
        raise no(
            f"what {s.compress} makes of updates cannot be added up.",
            "Take randomk, sketch or float32, or leave it out.",
        )
    if s.privacy is not None and s.privacy.single:
        raise no(f"privacy={str(s.privacy)!r} makes each update safe to show.", "Leave one of the two out.")
    if s.privacy is not None and s.compress is not None:
        raise no(
            f"compress={str(s.compress)!r} would make cut updates longer where nobody can cut them again.",
            "Leave compress or privacy out.",
        )
    if s.privacy is not None and s.attack is not None:
        raise no(
            f"clients cut their updates themselves for privacy={str(s.privacy)!r}; those of "
            f"attack={str(s.attack)!r} would not.",
            "Leave one of the three out.",
        )
    if any(isinstance(m, NORMS) and m.track_running_stats for m in fed.model().modules()):
        raise no("running statistics of batch norm would be sent in the open.", "Take group norm or layer norm.")
