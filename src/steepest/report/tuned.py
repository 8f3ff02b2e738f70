"""What the report of a tuning has beside that of a comparison: what to take, how it was found, where it was sought."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from steepest.report.data import Records, Strategy, Task, number
from steepest.report.figures.base import Figure
from steepest.report.figures.pareto import front_table, pareto_figure
from steepest.report.figures.search import best_figure, curse_figure, race_figure, timeline_figure
from steepest.report.figures.space import (
    axis_figure,
    contour_figure,
    importance_figure,
    isolation_figure,
    parallel_figure,
)
from steepest.report.html import Child, Html, element
from steepest.report.ranking import final_values
from steepest.report.tables import Cell, Column, brief, table, with_marks
from steepest.report.trials import BROKEN, ENDED, Arm, Tuning
from steepest.report.words import DASH, count, duration, figure, listed, mean_sd, moment, plural

Grid = Callable[[Sequence[Figure | None]], Child]
"""Draws figures side by side; what is None is left out."""


def tuned_title(tuning: Tuning) -> str:
    """What was tuned on what."""
    arms = [arm.label.removesuffix(", tuned") for arm in tuning.arms]
    shown = listed(arms) if 0 < len(arms) < 4 and sum(map(len, arms)) < 60 else plural(len(arms), "strategy")
    return f"{shown}, tuned on {tuning.task}"


def tuned_header(records: Records, tuning: Tuning) -> Iterator[Html]:
    """Title, how much of the search and of the final has ended, and when."""
    yield element("p", "steepest tuning report", class_="kicker")
    yield element("h1", tuned_title(tuning))
    facts = [f"budget {tuning.record.get('budget') or DASH}", f"{plural(tuning.count(*ENDED), 'run')} of the search"]
    facts += [f"{n} {status}" for status in BROKEN if (n := tuning.count(status))]
    facts += [f"{n} running" for n in [tuning.count("open")] if n]
    done = records.count("finished", "diverged", "failed")
    facts += [f"{done} of {plural(len(records.runs), 'run')} of the final"] if records.runs else []
    facts += [moment(records.created)] if records.created else []
    yield element("p", " · ".join(facts), class_="facts")


def tuned_verdict(records: Records, tuning: Tuning) -> Html:
    """What to take and why, in words; the text to paste; the command that does it again."""
    parts: list[Child] = []
    strategy, sentences = _said(tuning)
    first, rest = sentences
    parts.append(element("p", with_marks(first, records.strategies), class_="verdict"))
    parts += [element("p", with_marks(rest, records.strategies))] if rest else []
    if strategy:
        parts.append(_copied("To paste" if tuning.answer else "To paste, so far", strategy, "paste"))
        name = tuning.record.get("spelling")
        if name:
            steps = ["--steps", str(tuning.record["steps"])] if tuning.record.get("steps") else []
            train = _command("train", str(name), "-s", strategy, *steps, "--out", "runs/best")
            parts.append(_copied("To train it", train, "train"))
    again = tuning.command(records.folder)
    if again:
        parts.append(_copied("To tune again", again, "again"))
    return element("section", parts, aria_label="Verdict")


def _command(*words: str) -> str:
    return shlex.join(["steepest", *words])


def _said(tuning: Tuning) -> tuple[str | None, tuple[str, str]]:
    """The strategy to take, the verdict's first sentence and the rest of it."""
    answer = tuning.answer
    if answer is not None and answer.get("verdict"):
        words, strategy = str(answer["verdict"]), answer.get("strategy")
        head = f"Take {strategy}"
        if strategy and words.startswith(head):
            rest = words.removeprefix(head).lstrip(".: ")
            as_given, _, more = rest.partition(" No tuned setting beat it.")
            if more or rest.endswith("No tuned setting beat it."):
                return str(strategy), (f"No tuned setting beat the strategy {as_given.strip()}", more.strip())
            first, _, more = rest.partition(". ")
            return str(strategy), (f"{first.rstrip('.')}.", more)
        first, _, more = words.partition("; ")
        return (str(strategy) if strategy else None), (words, "")
    ran, open_ = tuning.count(*ENDED), tuning.count("open")
    state = f"The study has not ended: {plural(ran, 'run')} of the search so far"
    state += f", {open_} running" if open_ else ""
    best = tuning.best()
    if best is None:
        lost = tuning.count(*BROKEN)
        none = f"{state}. " + (
            f"None came to anything: {lost} diverged or failed." if lost else "No run has ended yet."
        )
        return None, (none, "Lower the learning rates." if lost and lost == ran else "")
    arm, chosen = best
    value = f"validation {tuning.metric} {figure(number(chosen.get('value')))}"
    seeds = plural(int(number(chosen.get("seeds")) or 1), "seed")
    words = f"Best so far, {arm.label!r}: {value} on {seeds}. Nothing says yet that this is more than luck."
    return str(chosen.get("strategy") or ""), (f"{state}.", words)


def _copied(title: str, text: str, name: str) -> Html:
    copy = element("button", "Copy", type="button", class_="scale", data_copy=name)
    return element(
        "div",
        element("div", element("h3", title), copy, class_="bar"),
        element("pre", element("code", text, id=name)),
    )


def search_section(records: Records, tuning: Tuning, grid: Grid) -> list[Child]:
    """How the search went, and where the budget of each arm is."""
    first = pareto_figure(records, tuning) if tuning.against else best_figure(records, tuning)
    return [
        grid([first, timeline_figure(records, tuning)]),
        front_table(records, tuning) if tuning.against else None,
        element("h3", "Where the budget went"),
        _budget(records, tuning),
    ]


def race_section(records: Records, tuning: Tuning, grid: Grid) -> Child:
    """How much of the best value was luck, and the race that says it; None before there is a choice."""
    if tuning.against:
        return None
    task = _task(records, tuning)
    found = [curse_figure(records, tuning, task), *(race_figure(records, tuning, arm) for arm in tuning.arms)]
    if not any(found):
        return None
    words = (
        "The best of many trials on one seed is partly the luckiest. So the better ones run again on more seeds, the "
        "same for each, and what is chosen meets the strategy as it was given on seeds that nothing was chosen by."
    )
    return [element("p", words, class_="facts"), grid(_told_apart(tuning, found))]


def _told_apart(tuning: Tuning, found: Sequence[Figure | None]) -> list[Figure | None]:
    curse, *races = found
    if len(tuning.arms) < 2:
        return [curse, *races]
    return [
        curse,
        *(
            None
            if made is None
            else replace(made, title=f"The race: {arm.label.removesuffix(', tuned')}, a dot a seed")
            for arm, made in zip(tuning.arms, races, strict=True)
        ),
    ]


def arm_section(strategy: Strategy, tuning: Tuning, arm: Arm, grid: Grid) -> Child:
    """Where an arm has looked; None where nothing was tried."""
    if not any(t.point for t in arm.trials):
        return None
    words = [element("p", "Searched: ", element("code", arm.space), class_="facts")]
    if arm.extended:
        said = (
            f"The best point lay next to an end of its range, so the range was extended: {listed(list(arm.extended))}."
        )
        words.append(element("p", said, class_="facts"))
    near = [e for e in arm.chosen.get("near_edges") or [] if isinstance(e, list) and len(e) == 2]
    if near:
        ends = listed([f"{path} ({end} end)" for path, end in near])
        words.append(element("p", f"What was chosen lies next to an end of its range: {ends}.", class_="warning"))
    if not arm.importance:
        enough = sum(0 in t.repeats() for t in arm.trials) >= 8
        why = "scikit-learn is missing" if enough else "there are too few trials of full length"
        why = why if tuning.answer is not None else "the study has not ended"
        words.append(element("p", f"What mattered most is not known: {why}.", class_="facts"))
    whole = [contour_figure(tuning, arm), importance_figure(strategy, arm)]
    pairs = [(axis_figure(strategy, tuning, arm, d), isolation_figure(strategy, tuning, arm, d)) for d in arm.ordered()]
    lead = (
        "Left: a dot a trial, later ones stronger; a ring is what was chosen, a red cross what diverged or failed, a "
    )
    lead += "hollow dot a shorter rung. Dashed lines are the bounds. Right: the best in each stretch of the range, "
    lead += "whatever the others were, with how many trials fell there: where it is flat the value hardly matters."
    return [
        words,
        grid([parallel_figure(strategy, tuning, arm), *whole]),
        element("h3", "One at a time"),
        element("p", lead, class_="facts"),
        [grid(pair) for pair in pairs],
    ]


def tuning_notes(tuning: Tuning) -> Iterator[str]:
    """What the numbers of a search show, and what they do not."""
    yield (
        "Trials of an arm differ by their settings alone: all have the same seed and the same batches. The best of "
        "them is therefore partly the luckiest for that seed; only the final, on fresh seeds, says what it is worth."
    )
    yield (
        "Arms have equal budgets in gradients, but a space with more dimensions is looked through more thinly. A trial "
        "that diverged or failed is charged as a whole one."
    )
    if tuning.answer is None:
        yield "The study has not ended, so everything here may change. Give the same command again to go on."
    elif not tuning.answer.get("seeds"):
        yield "There was no final: nothing here was measured on seeds that the choice did not see."


def _task(records: Records, tuning: Tuning) -> Task | None:
    return next((task for task in records.tasks if task.name == tuning.task), None)


def _budget(records: Records, tuning: Tuning) -> Html:
    """For each arm: what it was given, what it was charged, what was lost, and what it chose."""
    task, by_label = _task(records, tuning), {s.label: s for s in records.strategies}
    explore, race = (number(tuning.share.get(name)) for name in ("explore", "race"))
    columns = [
        Column("Strategy", numeric=False),
        Column("Planned", hint="whole runs for the search and for the race"),
        Column("Charged", hint="whole runs' worth of gradients, of search and race"),
        Column("Trials", hint="settings that were tried"),
        Column("Lost", hint="runs that diverged or failed"),
        Column("Begun again", hint="runs whose process died"),
        Column("Time", hint="training time"),
        Column("Best trial", hint="on the seed of the search"),
        Column("Chosen at", hint="mean over the seeds of the race"),
        Column("Fresh seeds", hint="mean of the final"),
    ]
    rows = []
    for i, arm in enumerate(tuning.arms):
        strategy = by_label.get(arm.label) or Strategy(i, arm.label, arm.space)
        ended = [leg for leg in arm.legs if leg.status in ENDED]
        charged = sum(leg.charge for leg in ended)
        raced = sum(leg.charge for leg in ended if leg.seed)
        diverged, failed = (sum(leg.status == status for leg in ended) for status in BROKEN)
        retried = sum(leg.attempt > 0 for leg in arm.legs)
        fresh = [] if task is None else list(final_values(records, task, strategy).values())
        mean, _ = mean_sd(fresh)
        planned = None if explore is None or race is None else explore + race
        lucky, value = number(arm.chosen.get("luckiest")), number(arm.chosen.get("value"))
        text = str(arm.chosen.get("strategy") or "")
        seconds, parts = sum(leg.seconds for leg in arm.legs), (charged - raced, raced)
        seeds = plural(int(number(arm.chosen.get("seeds")) or 0), "seed") if value is not None else None
        rows.append(
            [
                Cell(brief(strategy, element("code", text) if text else None), arm.label.lower()),
                Cell("by time" if planned is None else count(planned), planned,
                     None if planned is None else f"{count(explore)} + {count(race)}"),
                Cell(count(round(charged, 2)), charged, " + ".join(count(round(x, 2)) for x in parts)),
                Cell(str(len(arm.trials)), float(len(arm.trials))),
                Cell(str(diverged + failed), float(diverged + failed),
                     listed([f"{n} {s}" for n, s in ((diverged, "diverged"), (failed, "failed")) if n])
                     if diverged + failed else None),
                Cell(str(retried), float(retried)),
                Cell(duration(seconds), seconds),
                Cell(figure(lucky), lucky),
                Cell(figure(value), value, seeds),
                Cell(figure(mean), mean, plural(len(fresh), "seed") if fresh else None),
            ]
        )  # fmt: skip
    return table("tuning-budget", f"Budget and choice on {tuning.task}", columns, rows)


def final_words(records: Records) -> str:
    """What the final is, in words."""
    seeds = plural(len(records.seeds), "seed")
    said = f"What each arm chose against the strategy as it was given, on {seeds} that nothing was chosen by."
    return said + ("" if records.summary else " It has not ended.")
