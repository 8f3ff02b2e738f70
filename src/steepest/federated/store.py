"""What is kept for each client between rounds: vectors, in memory or in a file, with nothing lost when killed.

In a file every client has two places. New values go to the place that the last checkpoint does not speak of, and the
checkpoint says which place counts: so until it is written the old values are still there, and afterwards the new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Store:
    """A vector of ``size`` float64 numbers for each of ``clients``, under one name.

    Args:
        clients: How many.
        size: Length of a vector.
        folder: Where the file lies; None: in memory. Rows that were never written take no room in either.
        name: Of the file.

    >>> store = Store(3, 2)
    >>> store.write([1], torch.tensor([[5.0, 6.0]], dtype=torch.float64))
    >>> store.read([0, 1]).tolist(), store.seen([0, 1]).tolist()
    ([[0.0, 0.0], [5.0, 6.0]], [False, True])
    """

    def __init__(self, clients: int, size: int, folder: Path | None = None, name: str = "") -> None:
        self.place = np.full(clients, -1, dtype=np.int8)
        """Which place counts, -1 where nothing was written."""
        self._kept = self.place.copy()
        shape = (2, clients, size)
        if folder is None:
            self._data: Any = np.zeros(shape[1:], dtype=np.float64)
        else:
            path = folder / f"client-{name}.bin"
            fresh = not path.exists() or path.stat().st_size != 8 * 2 * clients * size
            self._data = np.memmap(path, np.float64, "w+" if fresh else "r+", shape=shape)
        self.filed = folder is not None
        self.default: Tensor | None = None
        """What a row is that was never written; None: zeros."""

    def seen(self, clients: Sequence[int]) -> Tensor:
        """Which of the clients have been written."""
        return torch.from_numpy(self.place[list(clients)] >= 0)

    def read(self, clients: Sequence[int]) -> Tensor:
        """The vectors of some clients, copied."""
        where = np.asarray(clients, dtype=np.int64)
        place = self.place[where]
        raw = self._data[np.maximum(place, 0), where] if self.filed else self._data[where]
        found = torch.from_numpy(np.array(raw))
        new = torch.from_numpy(place < 0)
        if bool(new.any()):
            found[new] = 0.0 if self.default is None else self.default.double()
        return found

    def write(self, clients: Sequence[int], rows: Tensor) -> None:
        """New vectors for some clients."""
        where = np.asarray(clients, dtype=np.int64)
        if not self.filed:
            self._data[where] = rows.numpy()
            self.place[where] = 0
            return
        other = (1 - np.maximum(self._kept[where], 0)) * (self._kept[where] >= 0)
        self._data[other, where] = rows.numpy()
        self.place[where] = other

    def keep(self) -> Any:
        """What the checkpoint says: places in a file, else the vectors that were written."""
        if self.filed:
            self._data.flush()
            return {"place": torch.from_numpy(self.place.copy())}
        some = np.flatnonzero(self.place >= 0)
        return {"clients": torch.from_numpy(some), "rows": torch.from_numpy(self._data[some])}

    def kept(self) -> None:
        """The checkpoint is on the disk: from now on the old places are free."""
        self._kept = self.place.copy()

    def restore(self, saved: Any) -> None:
        """Go back to a checkpoint."""
        if "place" in saved:
            self.place = saved["place"].numpy().copy()
        else:
            self.write(saved["clients"].tolist(), saved["rows"])
        self.kept()
