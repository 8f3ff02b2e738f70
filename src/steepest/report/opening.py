"""How a report opens: title, verdict in words, and the legend of the page."""

from __future__ import annotations

from collections.abc import Iterator

from steepest.report.data import Records
from steepest.report.html import Child, Html, element
from steepest.report.tables import chip, with_marks
from steepest.report.words import listed, moment, plural, run_verdict, standing


def title(records: Records) -> str:
    """What was compared with what, or what was trained on what."""
    if records.single and records.runs:
        return f"{records.runs[0].strategy.label} on {records.runs[0].task}"
    tasks = listed([task.name for task in records.tasks]) if records.tasks else records.folder
    return f"{plural(len(records.strategies), 'strategy')} on {tasks}"


def header(records: Records) -> Iterator[Html]:
    """Title, how many runs ended and how, and when."""
    yield element("p", "steepest report" if not records.single else "steepest run report", class_="kicker")
    yield element("h1", title(records))
    ended = records.count("finished", "diverged", "failed")
    facts = [f"{ended} of {plural(len(records.runs), 'run')} ended"]
    facts += [f"{n} {status}" for status in ("diverged", "failed") if (n := records.count(status))]
    facts += [plural(len(records.seeds), "seed")] + ([moment(records.created)] if records.created else [])
    yield element("p", " · ".join(facts), class_="facts")


def verdict(records: Records) -> Html:
    """The outcome in words, overall and by task, and what is missing from it."""
    absent = [run for run in records.runs if run.status in ("missing", "unfinished", "stopped")]
    parts: list[Child] = []
    if records.single:
        parts = [
            element("p", with_marks(run_verdict(run, task), records.strategies), class_="verdict")
            for task in records.tasks
            for run in records.of(task)
        ]
    elif overall := records.verdict():
        parts.append(element("p", with_marks(overall, records.strategies), class_="verdict"))
    elif records.summary is None:
        words = f"The comparison has not ended: {plural(len(absent), 'run')} of {len(records.runs)} not finished."
        if not absent:
            words = "Every run has ended, but the comparison was not summed up (summary.json is missing)."
        parts.append(element("p", words, class_="verdict"))
    if not records.single:
        said = [
            (i, task, records.verdict(task) or standing(records, task)) for i, task in enumerate(records.tasks, start=1)
        ]
        said = [entry for entry in said if entry[2] != records.verdict()]
        items = [
            element(
                "li", with_marks(words, records.strategies), " ", element("a", f"See {task.name}", href=f"#task-{i}")
            )
            for i, task, words in said
        ]
        parts.append(element("ul", items) if items else None)
    if absent:
        names = [f"{run.task}, {run.strategy.label!r}, seed {run.seed}" for run in absent[:3]]
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        rest = element("a", "All of them", href="#lost")
        parts.append(
            element(
                "p", with_marks(f"Not finished: {'; '.join(names)}{more}. ", records.strategies), rest, class_="warning"
            )
        )
    return element("section", parts, aria_label="Verdict")


def legend(records: Records) -> Html | None:
    """One legend for the page: a strategy has one colour everywhere, and is hidden or shown everywhere."""
    if not records.strategies:
        return None
    buttons = [
        element(
            "button",
            chip(strategy),
            element("span", strategy.label),
            type="button",
            aria_pressed="true",
            data_strategy=f"s{strategy.index}",
            title=strategy.text or strategy.label,
        )
        for strategy in records.strategies
    ]
    return element(
        "nav", buttons, class_="legend", aria_label="Strategies: press one to hide or show it in every figure"
    )
