"""Where a search is kept: from a word, a file name or an address to a store."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steepest.core.errors import SteepestError
from steepest.tune.box import Box
from steepest.tune.store import Memory, Store

WAITS = (0.1, 0.3, 1.0, 3.0)
"""Seconds before a database is opened again that others are setting up."""
SQLITE = (".db", ".sqlite", ".sqlite3")
JOURNAL = (".journal", ".log", ".jsonl")


class StorageError(SteepestError, ValueError):
    """A storage that cannot be understood or reached."""


Open = Callable[[str, Box, Sequence[int], Mapping[str, Any]], Store]
"""Opens the store of an arm: its name, what is searched, signs of the values, and what the study says of itself."""


def storage(given: Any = None) -> Open:
    """How to open a store.

    ======================================= ===================================================================
    None, ``"memory"``                      for as long as the process lives
    ``"runs/tune.journal"`` (.log, .jsonl)  a file that any number of processes on one machine append to
    ``"runs/tune.db"`` (.sqlite)            an sqlite file; slower, and no better
    ``"postgresql://..."``, ``"mysql://"``  a database that several machines reach
    ``"grpc://host:port"``                  a proxy of optuna before such a database, for very many
    ``"redis://..."``                       a journal in redis
    an ``optuna`` storage                   as it is
    ======================================= ===================================================================

    >>> storage("runs/tune.txt")
    Traceback (most recent call last):
    steepest.tune.storage.StorageError: 'runs/tune.txt' is no storage. Give 'memory', a file (.journal, .db), or an
    address ('postgresql://...').
    """
    if given is None or given == "memory":
        return lambda name, box, signs, about: Memory()
    made = _optuna(given)

    def open_(name: str, box: Box, signs: Sequence[int], about: Mapping[str, Any]) -> Store:
        from steepest.tune.storage.shared import Shared

        return Shared(made, name, box, signs, about)

    return open_


def _optuna(given: Any) -> Any:
    from optuna import storages

    if isinstance(given, storages.BaseStorage):
        return storages.get_storage(given)
    text = str(given)
    try:
        if text.startswith("grpc://"):
            host, _, port = text.removeprefix("grpc://").partition(":")
            return storages.GrpcStorageProxy(host=host, port=int(port or 13000))
        if text.startswith("redis://"):
            return storages.JournalStorage(storages.journal.JournalRedisBackend(text))
        if text.startswith("sqlite://"):
            return _sqlite(text)
        if "://" in text:
            return _set_up(lambda: storages.get_storage(text))
    except ImportError as error:
        what = f" ({error.name})" if error.name else ""
        raise StorageError(
            f"{text} needs a package that talks to it{what}: pip install 'psycopg[binary]' for PostgreSQL, "
            "pymysql for mysql+pymysql://, redis, grpcio."
        ) from None
    except Exception as error:
        raise StorageError(f"{text} cannot be opened: {str(error).strip().splitlines()[0]}") from None
    path = Path(text)
    if path.suffix in SQLITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _sqlite(f"sqlite:///{path.absolute()}")
    if path.suffix in JOURNAL:
        from steepest.tune.storage.journal import Journal

        return storages.JournalStorage(Journal(path))
    raise StorageError(
        f"{text!r} is no storage. Give 'memory', a file (.journal, .db), or an address ('postgresql://...')."
    )


def _sqlite(url: str) -> Any:
    """A file that waits for other writers, instead of an error at once."""
    from optuna import storages

    return _set_up(
        lambda: storages.get_storage(storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}}))
    )


def _set_up(opened: Callable[[], Any]) -> Any:
    """A database that is opened; where other processes are making its tables at this moment, opened once more."""
    for wait in WAITS:
        try:
            return opened()
        except Exception as error:
            if not any(word in str(error).lower() for word in ("already exists", "unique", "duplicate")):
                raise
            time.sleep(wait * random.uniform(0.5, 1.5))
    return opened()
