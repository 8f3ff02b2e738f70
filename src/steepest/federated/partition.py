"""Who has what: the rows of a training set, dealt to clients."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steepest.core.records import read_json, write_json
from steepest.federated.errors import FederationError

Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Partition:
    """The rows of each client. A client may have none: it is there, is never sampled, and is counted.

    Args:
        rows: For each client the numbers of its rows, in increasing order; no row belongs to two.
        of: How many rows there are to deal; rows that nobody has are allowed.
        text: How it was made, ``"dirichlet(alpha=0.3)"``.
        facts: What else was drawn: the shift of each client's features, say.

    >>> halves = Partition([np.array([0, 2]), np.array([1])], of=3)
    >>> halves.sizes.tolist(), halves.empty
    ([2, 1], [])
    """

    rows: Sequence[Rows]
    of: int
    text: str = "given"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = [np.sort(np.asarray(own, dtype=np.int64)) for own in self.rows]
        if not rows:
            raise FederationError("a partition has at least one client.")
        every = np.concatenate(rows)
        if len(every) and (every.min() < 0 or every.max() >= self.of):
            raise FederationError(f"a partition of {self.of} rows names row {int(every.max())}; rows count from 0.")
        if len(np.unique(every)) != len(every):
            values, counts = np.unique(every, return_counts=True)
            raise FederationError(f"row {int(values[counts > 1][0])} belongs to two clients. Deal each row once.")
        if not len(every):
            raise FederationError("no client has a row.")
        object.__setattr__(self, "rows", rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sizes(self) -> Rows:
        """Rows of each client."""
        return np.array([len(own) for own in self.rows], dtype=np.int64)

    @property
    def empty(self) -> list[int]:
        """The clients that have nothing."""
        return np.flatnonzero(self.sizes == 0).tolist()

    @property
    def digest(self) -> str:
        """A hash of who has what."""
        found = hashlib.sha256()
        for own in self.rows:
            found.update(len(own).to_bytes(8, "little") + own.astype("<i8").tobytes())
        return found.hexdigest()[:16]

    # ------------------------------------------------------------------------------------------------------ statistics

    def table(self, labels: Rows) -> Rows:
        """How many rows of each class each client has: ``(clients, classes)``."""
        labels = np.asarray(labels)
        classes = int(labels.max()) + 1
        return np.stack([np.bincount(labels[own], minlength=classes) for own in self.rows])

    def statistics(self, labels: Rows | None = None) -> dict[str, Any]:
        """Plain numbers: sizes, empty clients and, where rows have classes, how far clients are from the whole.

        ``distance`` is the mean over the clients, by size, of the total variation between a client's classes and
        everybody's: 0 where all are alike, near 1 where each has what nobody else has. ``classes`` is the mean number
        of classes that a client has at all.
        """
        sizes = self.sizes
        found: dict[str, Any] = {
            "partition": self.text,
            "digest": self.digest,
            "clients": len(self),
            "empty": len(self.empty),
            "rows": int(sizes.sum()),
            "smallest": int(sizes.min()),
            "median": float(np.median(sizes)),
            "largest": int(sizes.max()),
        }
        if labels is not None:
            table = self.table(labels).astype(np.float64)
            some = table[sizes > 0]
            share = some / some.sum(1, keepdims=True)
            whole = table.sum(0) / table.sum()
            apart = np.abs(share - whole).sum(1) / 2
            found["distance"] = float((apart * some.sum(1)).sum() / table.sum())
            found["classes"] = float((some > 0).sum(1).mean())
        return found

    def picture(self, labels: Rows | None = None, width: int = 60, most: int = 20) -> str:
        """Who has what as text: a line a client, as long as it has rows, in the digits of its classes.

        >>> print(Partition([np.array([0, 1, 2]), np.array([3])], of=4).picture(np.array([0, 0, 1, 1]), width=12))
        client    rows  classes
         0       3  000000001111
         1       1  1111
        """
        sizes, lines = self.sizes, [f"{'client':>6}  {'rows':>6}  classes"]
        for number in range(min(len(self), most)):
            bar = "█" * round(width * sizes[number] / max(1, sizes.max()))
            if labels is not None and sizes[number]:
                share = np.bincount(np.asarray(labels)[self.rows[number]])
                bar = _classes(share, round(width * sizes[number] / sizes.max()))
            lines.append(f"{number:>6}  {sizes[number]:>6}  {bar}".rstrip())
        if len(self) > most:
            lines.append(f"{'...':>6}  and {len(self) - most} more")
        return "\n".join(lines)

    # --------------------------------------------------------------------------------------------------- files

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, whole or not at all."""
        path = Path(path)
        write_json(
            path,
            {
                "kind": "partition",
                "text": self.text,
                "of": self.of,
                "digest": self.digest,
                "facts": dict(self.facts),
                "rows": [own.tolist() for own in self.rows],
            },
        )
        return path

    @classmethod
    def load(cls, path: str | Path) -> Partition:
        """Read what :meth:`save` wrote; a file that was changed is refused."""
        saved = read_json(Path(path))
        if saved.get("kind") != "partition":
            raise FederationError(f"{path} holds no partition.")
        found = cls(
            [np.array(own, dtype=np.int64) for own in saved["rows"]], saved["of"], saved["text"], saved["facts"]
        )
        if found.digest != saved["digest"]:
            raise FederationError(f"{path} was changed: its rows do not fit its digest {saved['digest']}.")
        return found

    def __repr__(self) -> str:
        sizes = self.sizes
        return f"<Partition {self.text}: {len(self)} clients, {int(sizes.min())} to {int(sizes.max())} rows>"


def _classes(share: Rows, width: int) -> str:
    """A bar of ``width`` letters cut by class: each class is written with its last digit."""
    ends = np.round(np.cumsum(share) / max(1, share.sum()) * max(1, width)).astype(int)
    starts = np.concatenate([[0], ends[:-1]])
    return "".join(str(c % 10) * int(b - a) for c, (a, b) in enumerate(zip(starts, ends, strict=True)))
