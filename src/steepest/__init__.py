"""How should this model be trained?

A training strategy is one value: a rule, schedules, clipping, written with ``|`` or read from text.

>>> import steepest as st
>>> strategy = st.lion(lr=3e-4) | st.clip_norm(1.0)
>>> strategy == st.parse("lion(lr=3e-4) | clip_norm(1.0)")
True

What stands at this door:

- every piece and every recipe, as a function that returns a strategy: ``st.adamw(lr=1e-3)``, ``st.transformer()``;
- :func:`parse` and :class:`Strategy`, :class:`Task`, :class:`Federation`, and the verbs :func:`fit`,
  :func:`compare`, :func:`tune`, :func:`recommend`, :func:`landscape`, :func:`lr_find` and :func:`monitor`;
- :func:`advise`, for several tasks in one model;
- :func:`space`, a strategy with ranges in it (:func:`log`, :func:`near_one`, :func:`choice`), and
  :func:`default_space`, the usual one around a strategy;
- :class:`Precision`, in what weights and state are kept, and :func:`bytes_per_parameter`, what that costs;
- the rooms with everything else: ``st.rules.Adam``, ``st.optim.AdamW``, ``st.tasks.load("digits-cnn")``.

Nothing is imported before it is asked for, so ``import steepest`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

__all__ = [
    "Federation",
    "Precision",
    "Strategy",
    "Task",
    "__version__",
    "advise",
    "bytes_per_parameter",
    "choice",
    "compare",
    "default_space",
    "doctor",
    "federated",
    "fit",
    "gradients",
    "graph",
    "landscape",
    "log",
    "lr_find",
    "monitor",
    "multitask",
    "near_one",
    "normalization",
    "nowcasting",
    "optim",
    "parse",
    "recommend",
    "report",
    "rules",
    "schedules",
    "space",
    "tasks",
    "testing",
    "transfer",
    "tune",
    "wrappers",
]

if TYPE_CHECKING:
    from steepest import (
        doctor,
        federated,
        gradients,
        graph,
        multitask,
        normalization,
        nowcasting,
        optim,
        report,
        rules,
        schedules,
        tasks,
        testing,
        transfer,
        wrappers,
    )
    from steepest.advisor import advise
    from steepest.compare import compare
    from steepest.core.precision import Precision, bytes_per_parameter
    from steepest.federated import Federation
    from steepest.fit import fit
    from steepest.landscape import landscape
    from steepest.lr_find import lr_find
    from steepest.monitor import monitor
    from steepest.recommend import recommend
    from steepest.strategy import Strategy, parse
    from steepest.strategy.dimension import choice, log, near_one
    from steepest.strategy.front import *  # noqa: F403
    from steepest.strategy.space import space
    from steepest.strategy.usual import default_space
    from steepest.tasks import Task
    from steepest.tune import tune

_VALUES = {
    "Federation": "steepest.federated",
    "Precision": "steepest.core.precision",
    "Strategy": "steepest.strategy",
    "Task": "steepest.tasks",
    "advise": "steepest.advisor",
    "bytes_per_parameter": "steepest.core.precision",
    "choice": "steepest.strategy.dimension",
    "default_space": "steepest.strategy.usual",
    "log": "steepest.strategy.dimension",
    "near_one": "steepest.strategy.dimension",
    "parse": "steepest.strategy",
    "space": "steepest.strategy.space",
}
_ROOMS = (
    "compare",
    "doctor",
    "federated",
    "fit",
    "gradients",
    "graph",
    "landscape",
    "lr_find",
    "monitor",
    "multitask",
    "normalization",
    "nowcasting",
    "optim",
    "recommend",
    "report",
    "rules",
    "schedules",
    "tasks",
    "testing",
    "transfer",
    "tune",
    "wrappers",
)


_VERBS = ("compare", "fit", "landscape", "lr_find", "monitor", "recommend", "tune")
"""Rooms named after their one function."""


def _render(folder: Any, path: Any) -> Any:
    from steepest.doctor import diagnose
    from steepest.report import render

    if (folder / "runs").is_dir():  # a study without a final has none
        diagnose(folder)
    return render(folder, path)


class _Verb(ModuleType):
    """A room named after its one function. ``st.fit(...)`` calls it; ``from steepest.fit import ...`` still works."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # the rooms below do not know report: it is handed in here
        if self.__name__ in ("steepest.compare", "steepest.recommend", "steepest.tune"):
            kwargs.setdefault("render", _render)
        return self._function(*args, **kwargs)

    @property
    def _function(self) -> Any:
        return vars(self)[self.__name__.rpartition(".")[2]]

    @property
    def __signature__(self) -> Any:  # what help() and inspect.signature() ask for
        import inspect

        return inspect.signature(self._function)


class _FrontDoor(ModuleType):
    """The package itself. An imported submodule is set on its parent: there the verbs become callable.

    So ``st.compare`` is one object whatever was imported first: the room, which can be called.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _VERBS and type(value) is ModuleType:
            value.__class__ = _Verb
        super().__setattr__(name, value)


if not TYPE_CHECKING:  # a type checker reads the imports above, and so still finds a misspelt name
    import sys

    sys.modules[__name__].__class__ = _FrontDoor
    del sys

    def __getattr__(name: str) -> Any:
        if name in _ROOMS:
            return importlib.import_module(f"{__name__}.{name}")
        if name in _VALUES:
            value = getattr(importlib.import_module(_VALUES[name]), name)
            if name == "Federation":
                value.render = staticmethod(_render)
            return value
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from steepest.core.errors import did_you_mean
        from steepest.strategy import lift, table

        if name in table():
            return lift(table()[name])
        raise AttributeError(f"steepest has no {name!r}. {did_you_mean(name, [*__all__, *table()])}", name=name)

    def __dir__() -> list[str]:
        from steepest.strategy import table

        return sorted({*__all__, *table()})
