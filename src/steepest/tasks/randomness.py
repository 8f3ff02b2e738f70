"""Random numbers that depend on what they are for, and on nothing else.

Two strategies are compared fairly when luck is the same for both. So nothing here draws from a stream that somebody
else may have advanced: initialisation, data order and augmentation each start from a number that is a pure function
of (seed, purpose, epoch, batch), and the caller's own random state is put back afterwards.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def mix(*parts: int | str) -> int:
    """A 63-bit number that is a pure function of its parts, the same on every machine and in every process.

    >>> mix(0, "order", 3) == mix(0, "order", 3), mix(0, "order", 3) == mix(3, "order", 0)
    (True, False)
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A torch generator on the CPU, seeded with ``mix(*parts)``."""
    return torch.Generator().manual_seed(mix(*parts))


def _cuda_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def seed_all(seed: int) -> None:
    """Seed torch (CPU, and CUDA where it is in use), Python's ``random`` and, where it is imported, numpy."""
    torch.default_generator.manual_seed(seed)
    if _cuda_in_use():
        torch.cuda.manual_seed_all(seed)
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed % 2**32)


def get_state() -> dict[str, Any]:
    """The state of every generator that :func:`seed_all` seeds."""
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if _cuda_in_use():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if numpy := sys.modules.get("numpy"):
        state["numpy"] = numpy.random.get_state()
    return state


def set_state(state: dict[str, Any]) -> None:
    """Put back what :func:`get_state` returned."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])
    if "numpy" in state:
        sys.modules["numpy"].random.set_state(state["numpy"])


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Inside, every generator starts from ``mix(*parts)``; afterwards all are as they were before.

    >>> before = torch.get_rng_state()
    >>> with seeded(0, "weights"):
    ...     a = torch.rand(())
    >>> with seeded(0, "weights"):
    ...     b = torch.rand(())
    >>> bool(a == b), torch.equal(before, torch.get_rng_state())
    (True, True)
    """
    before = get_state()
    try:
        seed_all(mix(*parts))
        yield
    finally:
        set_state(before)
