"""Different rules for different parameters, as one rule of a strategy."""

from __future__ import annotations

from dataclasses import dataclass

from steepest.core.partition import Labelled
from steepest.core.piece import ArgumentError, Piece, piece


@dataclass(frozen=True)
class Partition:
    """Which rule each kind of parameter goes to."""

    routes: tuple[tuple[str, Piece], ...]

    def group(self, p: Labelled) -> str | None:
        """The route that a parameter takes: its own label's, else ``rest``; None when there is neither."""
        names = {name for name, _ in self.routes}
        return p.label if p.label in names else "rest" if "rest" in names else None


@piece("rule")
def partition(
    *,
    matrix: Piece | None = None,
    kernel: Piece | None = None,
    embedding: Piece | None = None,
    norm: Piece | None = None,
    bias: Piece | None = None,
    vector: Piece | None = None,
    rest: Piece | None = None,
) -> Partition:
    """Send each kind of parameter to its own rule: ``partition(matrix=lion(1e-4), rest=adamw(1e-3))``.

    Args:
        matrix: Two dimensions, as in linear and recurrent layers.
        kernel: Three or more, as in convolutions.
        embedding: Tables of vectors.
        norm: Scales and shifts of normalisation layers.
        bias: Shifts.
        vector: Other tensors with fewer than two dimensions.
        rest: All that is not named; without it a parameter that matches nothing is an error.
    """
    given = {
        "matrix": matrix, "kernel": kernel, "embedding": embedding, "norm": norm, "bias": bias, "vector": vector,
        "rest": rest,
    }  # fmt: skip
    routes = tuple((name, rule) for name, rule in given.items() if rule is not None)
    if not routes:
        raise ArgumentError(f"partition needs at least one of {', '.join(given)}: partition(rest=adamw(lr=0.001)).")
    for name, rule in routes:
        if not isinstance(rule, Piece) or rule.role != "rule" or rule.name == "partition":
            raise ArgumentError(f"partition: {name} takes a rule such as adamw(lr=0.001), got {rule!r}.")
    return Partition(routes)
