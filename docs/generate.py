"""Write the tables of the pages and a page for each rule, from the classes, from runs and from measured results.

    python docs/generate.py

A page (the README too) marks the place of a table with ``<!-- table: name -->`` and ``<!-- end -->``; what is between
is replaced.
``tests/docs/test_tables.py`` fails while a committed page differs from what this script would write.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import page_tables
import rule_pages

HERE = Path(__file__).parent

PLACE = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def found() -> dict[str, Callable[[], str]]:
    """Every table, by the name that marks its place; each module of ``page_tables`` brings its own."""
    tables: dict[str, Callable[[], str]] = {}
    for module in pkgutil.iter_modules(page_tables.__path__):
        for name, make in getattr(importlib.import_module(f"page_tables.{module.name}"), "TABLES", {}).items():
            if name in tables:
                raise ValueError(f"two tables are named {name!r}, one of them in page_tables/{module.name}.py")
            tables[name] = make
    return tables


TABLES = found()


def filled(page: str) -> str:
    """A page with its tables up to date."""
    return PLACE.sub(lambda m: m[1] + TABLES[m["name"]]() + m[3], page)


def main() -> None:
    """Rewrite every page that is out of date."""
    for path in (HERE.parent / "README.md", *sorted(HERE.glob("*.md"))):
        page = path.read_text(encoding="utf-8")
        if (new := filled(page)) != page:
            path.write_text(new, encoding="utf-8")
            print(f"{path.name} rewritten")
    print(*rule_pages.write(), sep="\n")


if __name__ == "__main__":
    main()
