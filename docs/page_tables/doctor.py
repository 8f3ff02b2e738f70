"""The tables of docs/doctor.md: the rules, and how often each fault was named."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from page_tables.markdown import Row, Tables, first_line, results, table


def doctor_rules() -> Iterator[Row]:
    """Every rule of the doctor."""
    from steepest.doctor import looks

    yield "rule", "what it finds", "source"
    for name, look in looks().items():
        module = sys.modules[look.__module__]
        yield f"`{name}`", first_line(module), str(vars(module)["SOURCE"])


def doctor_rows() -> Iterator[Row]:
    """How often each fault was named, in each measurement."""
    parts = results("doctor")
    yield (
        "fault (rule)",
        *(words for part in parts for words in (f"named, {part}", "named first")),
        "what else was said (runs)",
    )
    first = next(iter(parts.values()))
    for fault in first["faults"]:
        cells, also = [], dict[str, int]()
        for part in parts.values():
            row = part["faults"].get(fault)
            if row is None:  # measured again for some faults alone
                cells += ["", ""]
                continue
            cells += [f"{row['named']} of {row['runs']}", f"{row['first']} of {row['runs']}"]
            for name, n in row["also"].items():
                also[name] = also.get(name, 0) + n
        said = ", ".join(f"{name} ({n})" for name, n in sorted(also.items(), key=lambda entry: -entry[1]))
        yield f"`{fault}`", *cells, said
    totals = [words for part in parts.values() for words in (f"**{part['named']} of {part['sick']}**", "")]
    yield "all faults", *totals, ""
    counts = [
        f"**{len(part['wrong alarms'])} of {part['healthy']}**" if part["healthy"] else "" for part in parts.values()
    ]
    alarms = [words for count in counts for words in (count, "")]
    wrong = "; ".join(words for part in parts.values() for words in part["wrong alarms"])
    yield "wrong alarms on healthy runs", *alarms, wrong


TABLES: Tables = {
    "doctor": lambda: table(*doctor_rows()),
    "doctor-rules": lambda: table(*doctor_rules()),
}
