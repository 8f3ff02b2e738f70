"""Write the tables of the pages from the classes: ``python docs/generate.py``.

A page marks the place of a table with ``<!-- table: name -->`` and ``<!-- end -->``; what is between is replaced.
``tests/docs/test_tables.py`` fails while a committed page differs from what this script would write.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import steepest.rules
from steepest.core.piece import Kind, classes, kinds
from steepest.core.rule import Rule
from steepest.testing.rules import hyperparameters

HERE = Path(__file__).parent
PLACE = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def number(x: float) -> str:
    """A number as one writes it: ``1e-08`` becomes ``1e-8``."""
    return re.sub(r"e-0(\d)", r"e-\1", f"{x:g}")


def markdown(text: str) -> str:
    """Docstring markup as Markdown."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text).replace("``", "`")
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def first_line(thing: Any) -> str:
    """What a thing is, in its own words."""
    return markdown((inspect.getdoc(thing) or "").splitlines()[0])


def source(cls: type) -> str:
    """The paper that a docstring names."""
    found = re.search(r"^Source: (.*?)(?=^\w[\w ]*:|^$)", inspect.getdoc(cls) or "", re.DOTALL | re.MULTILINE)
    text = " ".join(found[1].split()).rstrip(".") if found else ""
    return markdown(text)


def table(*rows: tuple[str, ...]) -> str:
    """Rows, the first of them the head, as a Markdown table."""
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def rule_rows() -> Iterator[tuple[str, ...]]:
    """One row a rule."""
    yield "rule", "what it does", "hyperparameters", "state (in torch.optim)", "bytes", "source"
    p = torch.zeros(1)
    for name, cls in classes(steepest.rules, Rule).items():
        rule: Rule = cls()
        names = rule.torch_names
        bounds = hyperparameters(rule)
        fields = [f"`{n}` = {number(getattr(rule, n))} in {b.text}" for n, b in bounds.items()]
        fields += [f"`{f.name}` = {f.default}" for f in dataclasses.fields(cls) if f.name not in bounds]
        kept = [
            f"`{n}`" + (f" ({names[n]})" if n in names else "") for n in (*rule.State._fields, *rule.Memory._fields)
        ]
        size = sum(s.element_size() for s in rule.init(p))
        yield f"`{name}`", first_line(cls), "<br>".join(fields), ", ".join(kept) or "none", str(size), source(cls)


def piece_rows() -> Iterator[tuple[str, ...]]:
    """One row a finished assembly."""
    yield "piece", "what it is", "links, in order"
    for kind in kinds(steepest.rules).values():
        links = " → ".join(type(link).__name__ for link in kind().build())
        yield f"`{call(kind)}`", first_line(kind.function), links


def call(kind: Kind[..., Any]) -> str:
    """A kind with its defaults, as one would write it."""

    def show(x: Any) -> str:
        if isinstance(x, tuple):
            return f"({', '.join(map(show, x))})"
        return number(x) if isinstance(x, float) else repr(x)

    return f"{kind.name}({', '.join(f'{n}={show(p.default)}' for n, p in kind.signature.parameters.items())})"


TABLES: dict[str, Callable[[], str]] = {
    "rules": lambda: table(*rule_rows()),
    "rule-pieces": lambda: table(*piece_rows()),
}


def filled(page: str) -> str:
    """A page with its tables up to date."""
    return PLACE.sub(lambda m: m[1] + TABLES[m["name"]]() + m[3], page)


def main() -> None:
    """Rewrite every page that is out of date."""
    for path in sorted(HERE.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if (new := filled(page)) != page:
            path.write_text(new, encoding="utf-8")
            print(f"{path.name} rewritten")


if __name__ == "__main__":
    main()
