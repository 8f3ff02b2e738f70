"""The table of pieces: every name of the text form, found by walking the rooms."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType, ModuleType
from typing import Any

from steepest.core.errors import unknown
from steepest.core.piece import Kind, Role, modules

PLURALS: dict[str, str] = {
    "rule": "rules",
    "schedule": "schedules",
    "gradient": "gradients",
    "groups": "groups",
    "wrapper": "wrappers",
    "precision": "precision",
    "transfer": "transfer",
    "multitask": "multitask",
    "recipe": "recipes",
}
"""What a role is called in listings, in the order in which a strategy prints."""


def collect(*packages: ModuleType) -> dict[str, Kind[..., Any]]:
    """Every kind of piece that the packages define, by name; two of one name are an error."""
    found: dict[str, Kind[..., Any]] = {}
    for package in packages:
        for module in modules(package):
            for value in vars(module).values():
                if not isinstance(value, Kind) or value.function.__module__ != module.__name__:
                    continue
                other = found.setdefault(value.name, value)
                if other is not value:
                    raise ValueError(
                        f"two pieces are called {value.name!r}: in {other.function.__module__} and in "
                        f"{value.function.__module__}. The text form needs one meaning: rename one of them."
                    )
    return dict(sorted(found.items()))


@cache
def table() -> MappingProxyType[str, Kind[..., Any]]:
    """Every piece and recipe by name, collected on first use.

    >>> table()["clip_norm"].role
    'gradient'
    """
    import steepest.gradients
    import steepest.multitask
    import steepest.rules
    import steepest.schedules
    import steepest.strategy
    import steepest.transfer
    import steepest.wrappers

    below = (steepest.rules, steepest.schedules, steepest.gradients, steepest.wrappers, steepest.transfer)
    return MappingProxyType(collect(*below, steepest.multitask, steepest.strategy))


def names(role: Role) -> list[str]:
    """The names of one role, sorted.

    >>> names("groups")
    ['decay_all', 'decay_only', 'layer_decay', 'rates']
    """
    return [name for name, kind in table().items() if kind.role == role]


def lookup(name: str, what: str = "piece") -> Kind[..., Any]:
    """The kind of that name, or an error that offers the nearest one."""
    if name not in table():
        raise unknown(what, name, table())
    return table()[name]
