"""How secure sums are taken, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steepest.core.rule import hyper
from steepest.federated.errors import FederationError
from steepest.federated.named import Named, read


@dataclass(frozen=True, repr=False)
class Secagg(Named):
    """Sums that show the server no summand: masks that cancel, and shares for what is missing.

    Args:
        bits: Sums are taken modulo ``2 ** bits``.
        reach: The largest absolute value of an entry of an update; beyond it a client does not send.
        degree: With how many others each client shares masks; 0: with all, up to 100.
        threshold: How many of a client and its neighbours must stay, and how many the server would have to win over
            to see its update; below 1: more than that share of them.

    Source: Bonawitz et al. 2017, eprint 2017/281, figure 4 (masks, shares, dropouts; servers that follow the protocol);
    Bell et al. 2020, eprint 2020/704, algorithm 2 (few neighbours).

    Example:
        >>> Secagg(reach=2.0)
        secagg(reach=2.0)
    """

    bits: int = hyper(32, "[8, 62]", whole=True)
    reach: float = hyper(8.0, "(0, inf)")
    degree: int = hyper(0, "[0, inf)", whole=True)
    threshold: float = hyper(0.5, "(0, inf)")

    def needed(self, near: int) -> int:
        """How many of ``near`` clients, itself among them, must stay."""
        found = int(self.threshold * near) + 1 if self.threshold < 1 else int(self.threshold)
        if not 2 <= found <= near:
            raise FederationError(f"{self}: {found} of {near} is no threshold; give one from 2 to {near}, or a share.")
        return found


def as_secure(given: Any) -> Secagg | None:
    """How sums are taken, from itself, its text, or True.

    >>> as_secure(True), as_secure("secagg(bits=40)"), as_secure(False)
    (secagg, secagg(bits=40), None)
    """
    if given is None or given is False:
        return None
    if isinstance(given, Secagg):
        return given
    made: Secagg = read("secure sum", "secagg" if given is True else given, {"secagg": Secagg})
    return made
