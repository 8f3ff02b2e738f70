"""What ``steepest list`` shows, asked of the pieces themselves: a new file is in the list without an edit here."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, get_args

from steepest.core.errors import unknown
from steepest.core.piece import Kind, Role
from steepest.strategy.table import PLURALS, table
from steepest.tasks.registry import catalogue


@dataclass(frozen=True)
class Entry:
    """One line of a list: how a thing is written, what it means, where it comes from."""

    name: str
    arguments: str
    meaning: str
    source: str

    def as_dict(self) -> dict[str, str]:
        """For ``--json``."""
        return asdict(self)


def entries(what: str) -> list[Entry]:
    """The entries of one list, by name."""
    if what not in CATALOG:
        raise unknown("list", what, CATALOG)
    return list(CATALOG[what]())


def meaning(doc: str) -> str:
    """The first sentence of a docstring.

    >>> meaning("Lion with decoupled decay (as AdamW). Source: arXiv:2302.06675.")
    'Lion with decoupled decay (as AdamW).'
    """
    first = " ".join(doc.strip().partition("\n\n")[0].split())
    sentence = re.match(r".*?\.(?=\s|$)", first)
    return plain(sentence.group() if sentence else first)


def source(doc: str) -> str:
    """What stands after ``Source:`` in a docstring, up to the end of its paragraph.

    >>> source("Lion. Source: Chen et al. 2023, arXiv:2302.06675.")
    'Chen et al. 2023, arXiv:2302.06675'
    >>> source("No paper.")
    ''
    """
    found = re.search(r"\bSources?:\s*((?:.+\n?)+)", inspect.cleandoc(doc))
    return plain(" ".join(found.group(1).split())).rstrip(".") if found else ""


def plain(text: str) -> str:
    """Docstring markup as plain text.

    >>> plain("a :class:`Rule` of ``lr`` and :math:`x^2`")
    'a Rule of lr and x^2'
    """
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text)
    return text.replace("``", "").replace("`", "")


def arguments(signature: inspect.Signature) -> str:
    """Arguments with their defaults, without types, as they are typed in the text form.

    >>> arguments(inspect.signature(lambda lr=1e-3, betas=(0.9, 0.99): None))
    'lr=0.001, betas=(0.9, 0.99)'
    """
    return ", ".join(
        str(p.replace(annotation=inspect.Parameter.empty))
        for p in signature.parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    )


def _piece(kind: Kind[..., Any]) -> Entry:
    doc = inspect.getdoc(kind.function) or ""
    return Entry(kind.name, arguments(kind.signature), meaning(doc), source(doc) or _source_beside(kind.function))


def _source_beside(function: Callable[..., Any]) -> str:
    """The source that the class beside a function names: the docstring with the maths is there."""
    module = sys.modules[function.__module__]
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == module.__name__ and source(value.__doc__ or ""):
            return source(value.__doc__ or "")
    return source(module.__doc__ or "")


def _of_role(role: Role) -> Iterator[Entry]:
    return (_piece(kind) for kind in table().values() if kind.role == role)


def _tasks() -> Iterator[Entry]:
    for name, task in catalogue().items():
        doc = inspect.getdoc(task.function) or ""
        yield Entry(name, arguments(inspect.signature(task.function)), meaning(doc), source(doc))


CATALOG: dict[str, Callable[[], Iterator[Entry]]] = {
    **{PLURALS[role]: functools.partial(_of_role, role) for role in get_args(Role) if role in PLURALS},
    "tasks": _tasks,
}
"""The lists by name, in the order in which a strategy prints."""
