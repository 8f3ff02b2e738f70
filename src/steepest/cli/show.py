"""``steepest show``: all that a rule, another piece, a recipe or a task says of itself."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from steepest.cli.catalog import RuleEntry, TaskEntry, arguments, plain, rule_entry, task_entry
from steepest.cli.console import say
from steepest.core.chain import Chain
from steepest.core.errors import unknown
from steepest.core.rule import Rule
from steepest.rules import LearningRate, WeightDecay
from steepest.strategy.table import table
from steepest.tasks.registry import catalogue

EVERYWHERE = (LearningRate, WeightDecay)
"""Links that nearly every chain has, and that need no explanation each time."""


def show(
    name: Annotated[str, typer.Argument(help="As it is written in a strategy: adamw, cosine, clip_norm, ...")],
) -> None:
    """Show the whole description of one rule, schedule, gradient piece, wrapper, recipe or task."""
    known = {**{n: k.function for n, k in table().items()}, **{n: t.function for n, t in catalogue().items()}}
    if name not in known:
        raise unknown("piece or task", name, known)
    function = known[name]
    say(f"{name}({arguments(inspect.signature(function))})", "bold cyan")
    say("")
    say(plain(inspect.getdoc(function) or ""))
    if name in catalogue():
        say("")
        say(_costs(task_entry(name, catalogue()[name])), "dim")
    kind = table().get(name)
    if kind is None or kind.role != "rule" or (entry := rule_entry(kind)).bytes is None:
        return
    say("")
    say(_numbers(entry), "dim")
    for link in _own(kind().build()):
        say("")
        say(type(link).__name__, "bold")
        say(plain(inspect.getdoc(type(link)) or ""))


def _own(links: Chain) -> list[Rule]:
    """The links that are this rule's, each class once."""
    found = {type(link): link for link in links if type(link) not in EVERYWHERE}
    return list(found.values())


def _numbers(entry: RuleEntry) -> str:
    """What was measured, in one line."""
    said = [f"{entry.size} bytes of state a parameter (measured on a float32 matrix of 1024 x 1024)"]
    said += [f"needs {', '.join(entry.needs)}"] if entry.needs else []
    said += ["evaluate inside optimizer.evaluating()"] if entry.averages else []
    return "; ".join(said) + "."


def _costs(entry: TaskEntry) -> str:
    """What was measured on a task, in one line."""
    said = [f"{entry.parameters} parameters"] if entry.parameters is not None else []
    said += [f"{entry.megaflops:g} MFLOP a step"] if entry.megaflops else []
    said += [f"a run: {entry.seconds:.1f} s on one core, without the updates"] if entry.seconds is not None else []
    said += [f"target: {entry.solved}"]
    said += [f"in suites: {', '.join(entry.suites)}"] if entry.suites else []
    return "; ".join(said) + "."
