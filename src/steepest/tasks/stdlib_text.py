"""A text that is on every machine with Python: the source of the standard library, one number a character.

The files are the ``*.py`` of the library, except tests, tables of data, and what the build or other packages put
there. A file goes to train, validation or test by the hash of its name (:func:`steepest.tasks.splits.split_of`,
80 : 10 : 10), never two at once. Within a split, files follow in the order of that hash, 10 000 characters of each at
most, so that no long file decides a split, until the split is full. The text differs between versions of Python, so
the record of a task holds a hash of it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from steepest.tasks.splits import fraction, split_of
from steepest.tasks.task import TaskError

ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
CONTEXT = 64
PER_FILE = 10_000
SIZES = {"train": 1_200_000, "validation": 150_000, "test": 150_000}
WINDOWS = {"validation": 512, "test": 2048}
LEFT_OUT = re.compile(
    r"(site-packages|dist-packages|tests?|idle_test|lib2to3|idlelib|turtledemo|encodings|pydoc_data|__\w+__|config-.*"
    r"|_sysconfigdata.*|_sysconfig_vars.*|sitecustomize\.py)"
)
SOURCE = "the Python standard library of the running interpreter"


class Corpus(NamedTuple):
    """The encoded text of each split, the files in it, and a hash of all three texts."""

    text: dict[str, Tensor]
    files: dict[str, tuple[str, ...]]
    digest: str


def encode(text: str) -> Tensor:
    r"""Each character as its place in an alphabet of 96: newline, then ASCII 32 to 126.

    A tab is a space; every other character, ASCII or not, is ``?``.

    >>> "".join(ALPHABET[i] for i in encode("a\tπ = 3\n").tolist())
    'a ? = 3\n'
    """
    table = torch.full((128,), ALPHABET.index("?"), dtype=torch.uint8)
    for i, character in enumerate(ALPHABET):
        table[ord(character)] = i
    table[ord("\t")] = ALPHABET.index(" ")
    ascii_codes = bytearray(text.encode("ascii", "replace"))
    return table[torch.frombuffer(ascii_codes, dtype=torch.uint8).int()] if ascii_codes else table[:0]


def names(root: Path) -> list[str]:
    """The files of the library below ``root``, as paths with forward slashes, sorted."""
    found = []
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not LEFT_OUT.fullmatch(name)]
        place = Path(folder).relative_to(root)
        found += [(place / f).as_posix() for f in files if f.endswith(".py") and not LEFT_OUT.fullmatch(f)]
    return sorted(found)


@functools.cache
def corpus(folder: str = "") -> Corpus:
    """The corpus of the library in ``folder`` (default: the running interpreter's); read once a process."""
    root = Path(folder or sysconfig.get_paths()["stdlib"])
    files: dict[str, list[str]] = {split: [] for split in SIZES}
    parts: dict[str, list[Tensor]] = {split: [] for split in SIZES}
    room = dict(SIZES)
    for name in sorted(names(root), key=lambda name: (fraction(f"stdlib/{name}"), name)):
        split: str = split_of(f"stdlib/{name}", validation=0.1, test=0.1)
        if room[split] > 0:
            source = (root / name).read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
            part = encode(source)[: min(room[split], PER_FILE)]
            files[split].append(name)
            parts[split].append(part)
            room[split] -= len(part)
    text = {split: torch.cat([*p, encode("")]) for split, p in parts.items()}
    for split, t in text.items():
        if len(t) < CONTEXT * 128:
            raise TaskError(
                f"the text of {split} has {len(t)} characters: {root} holds too little Python source. The character "
                "models need the *.py files of the standard library; this Python came without them."
            )
    digest = hashlib.blake2b(b"".join(t.numpy().tobytes() for t in text.values()), digest_size=8).hexdigest()
    return Corpus(text, {split: tuple(f) for split, f in files.items()}, digest)


def windows(text: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Inputs and targets (the inputs moved on by one) of shape (n, 64): side by side, or ``count`` evenly spread."""
    t = text.long()
    last = len(t) - 1 - CONTEXT
    if count is None:
        return t[:-1].unfold(0, CONTEXT, CONTEXT), t[1:].unfold(0, CONTEXT, CONTEXT)
    starts = torch.arange(count) * last // max(count - 1, 1)
    rows = starts[:, None] + torch.arange(CONTEXT)
    return t[rows], t[rows + 1]


@functools.cache
def language() -> dict[str, Any]:
    """What the character tasks share: splits, where they come from, and facts for the record.

    Training windows lie side by side; validation and test are a fixed number of windows spread evenly over their
    files, so that an evaluation costs little.
    """
    text, files, digest = corpus()
    return {
        "train": windows(text["train"]),
        "validation": windows(text["validation"], WINDOWS["validation"]),
        "test": windows(text["test"], WINDOWS["test"]),
        "source": SOURCE,
        "facts": {
            "corpus": digest,
            "python": platform.python_version(),
            "characters": {split: len(t) for split, t in text.items()},
            "files": {split: len(f) for split, f in files.items()},
        },
    }
