"""What ran, on what, and the command to do it again."""

from __future__ import annotations

from steepest.report.data import Records, Task, mapping
from steepest.report.html import Child, element
from steepest.report.tables import full
from steepest.report.words import moment, plural


def settings(records: Records) -> list[Child]:
    """Strategies, tasks, seeds, versions, machine and commit, and the command."""
    recorded, machine = records.settings, mapping(records.settings.get("machine"))
    versions = ", ".join(f"{name} {version}" for name, version in mapping(recorded.get("versions")).items())
    computer = ", ".join(
        part
        for part in (
            str(machine.get("cpu") or ""),
            plural(machine["cores"], "core") if isinstance(machine.get("cores"), int) else "",
            str(machine.get("system") or ""),
            str(recorded.get("device") or ""),
        )
        if part
    )
    facts: list[tuple[str, Child]] = [
        (
            "Strategies",
            element("ul", [element("li", full(strategy)) for strategy in records.strategies], class_="bare"),
        ),
        ("Tasks", element("ul", [element("li", _task_settings(task)) for task in records.tasks], class_="bare")),
        ("Seeds", ", ".join(map(str, records.seeds))),
        ("Versions", versions),
        ("Machine", computer),
        ("Commit", str(recorded.get("commit") or "")),
        ("Created", moment(records.created)),
    ]
    pairs = [[element("dt", term), element("dd", value)] for term, value in facts if value]
    command: Child = None
    if records.command:
        copy = element("button", "Copy", type="button", class_="scale", data_copy="command")
        bar = element("div", element("h3", "To do it again"), copy, class_="bar")
        command = [bar, element("pre", element("code", records.command, id="command"))]
    return [element("dl", pairs), command]


def _task_settings(task: Task) -> Child:
    names = ("steps", "batch_size", "eval_every", "parameters", "target", "optimum", "source")
    known = [f"{name.replace('_', ' ')} {task.facts[name]}" for name in names if task.facts.get(name) not in (None, "")]
    samples = mapping(task.facts.get("samples"))
    known += [f"samples {', '.join(f'{split} {n}' for split, n in samples.items() if n)}"] if samples else []
    return [element("b", task.name), f" {'; '.join([f'metric {task.metric} ({task.goal})', *known])}"]
