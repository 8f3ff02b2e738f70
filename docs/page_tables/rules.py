"""The tables of docs/rules.md: every rule, from its class and its assembly."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import steepest.rules
from page_tables.markdown import Row, Tables, first_line, inline, number, table
from steepest.core.about import About, about
from steepest.core.chain import chain
from steepest.core.facts import facts
from steepest.core.piece import Kind, classes, kinds
from steepest.core.rule import Rule
from steepest.rules.families import FAMILIES
from steepest.testing.rules import hyperparameters


def rules() -> dict[str, Kind[..., Any]]:
    """Every finished rule, by name."""
    return {name: kind for name, kind in kinds(steepest.rules).items() if kind.role == "rule"}


def source(cls: type) -> str:
    """The paper that a docstring names."""
    found = re.search(r"^Source: (.*?)(?=^\w[\w ]*:|^$)", inspect.getdoc(cls) or "", re.DOTALL | re.MULTILINE)
    text = " ".join(found[1].split()).rstrip(".") if found else ""
    return inline(text)


def rule_rows() -> Iterator[Row]:
    """One row a rule."""
    yield "rule", "what it does", "hyperparameters", "state (in torch.optim)", "bytes", "source"
    for name, cls in classes(steepest.rules, Rule).items():
        rule: Rule = cls()
        names = rule.torch_names
        bounds = hyperparameters(rule)
        fields = [f"`{n}` = {number(getattr(rule, n))} in {b.text}" for n, b in bounds.items()]
        fields += [f"`{f.name}` = {f.default}" for f in dataclasses.fields(cls) if f.name not in bounds]
        kept = [
            f"`{n}`" + (f" ({names[n]})" if n in names else "") for n in (*rule.State._fields, *rule.Memory._fields)
        ]
        size = f"{facts(chain(rule)).bytes:g}"
        yield f"`{name}`", first_line(cls), "<br>".join(fields), ", ".join(kept) or "none", size, source(cls)


def families() -> str:
    """Every finished rule, family by family."""
    found = [(about(kind), kind) for kind in rules().values()]
    out = []
    for family, common in FAMILIES.items():
        rows = [piece_row(said, kind) for said, kind in found if said.family == family]
        if rows:
            head = ("rule", "lr", "usually", "bytes", "needs", "what it is")
            out.append(f"### {family[0].upper()}{family[1:]}\n\nIt {common}.\n\n{table(head, *rows)}\n")
    return "".join(out)


def piece_row(said: About, kind: Kind[..., Any]) -> Row:
    """One finished rule."""
    built = facts(kind().build())
    lr = kind.signature.parameters["lr"].default if "lr" in kind.signature.parameters else None
    usual = " to ".join(dict.fromkeys(map(number, said.usual_lr or ()))).replace(" ", "&nbsp;")
    return (
        f"[`{kind.name}`](rules/{kind.name}.md)",
        "" if lr is None else number(lr),
        usual,
        f"{built.bytes:g}",
        ", ".join(built.needs),
        inline(said.meaning),
    )


TABLES: Tables = {
    "rules": lambda: table(*rule_rows()),
    "rule-pieces": families,
}
