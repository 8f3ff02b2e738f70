"""What tuning came to, in words and as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steepest.compare.board import Board, Render
from steepest.compare.verdict import figure
from steepest.core.errors import RecordError
from steepest.tune.front import LENGTH, fresh
from steepest.tune.study import Choice, Study


@dataclass(frozen=True)
class Tuned:
    """The outcome of :func:`~steepest.tune.run.tune`.

    Attributes:
        strategy: The text of what to take; None where no trial came to anything.
        best: The values of what was searched, by path; None where the strategy as it was given is better.
        verdict: Why, in words.
        board: The final; None where there was none.
        folder: Where the records lie.
    """

    strategy: str | None
    best: Mapping[str, Any] | None
    verdict: str
    board: Board | None
    folder: Path
    study: Study = field(repr=False)
    _keep: object = field(default=None, repr=False, compare=False)
    _render: Render | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        study: Study,
        board: Board | None,
        verdict: str,
        folder: Path,
        render: Render | None = None,
        keep: object = None,
        strategy: str | None = None,
    ) -> Tuned:
        """From a study that has come to its end."""
        points = {str(c.strategy): c.trial.point for arm in study.arms if (c := study.choice(arm)) is not None}
        return cls(strategy, points.get(strategy or ""), verdict, board, folder, study, keep, render)

    @property
    def trials(self) -> list[dict[str, Any]]:
        """Every trial of every arm: its point, its value on each seed, its status."""
        sign = 1 if self.study.ground.task.goal == "min" else -1
        return [
            {
                "arm": arm.label,
                "number": trial.number,
                "point": trial.point,
                "strategy": str(self.study.strategy(arm, trial)) if trial.point is not None else None,
                "status": trial.status,
                "values": {seed: sign * value for seed, value in trial.repeats().items()},
            }
            for arm in self.study.arms
            for trial in self.study.searches[arm.label].trials()
        ]

    @property
    def front(self) -> list[dict[str, Any]]:
        """With two objectives: the settings that none beats in both, the cheapest first."""
        return front_rows(self.study)

    def table(self, *, show: bool = True) -> str:
        """The verdict and the final's leaderboard, as text; printed too unless ``show`` is False."""
        if self.board is None:
            text = "\n".join([self.verdict, *front_lines(self.study)])
            if show:
                print(text)
            return text
        leaderboard = self.board.table(show=False).partition("\n\n")[2]  # behind its own verdict
        text = f"{self.verdict}\n\n{leaderboard}"
        if show:
            print(text)
        return text

    def report(self, path: str | Path) -> Path:
        """Write the report, one self-contained page; returns its path."""
        if self._render is None:
            raise RecordError(
                f"tune was called without a renderer. Write the report with: steepest report {self.folder} --out {path}"
            )
        self._render(self.folder, Path(path))
        return Path(path)

    def __repr__(self) -> str:
        return f"<Tuned in {self.folder}>\n{self.verdict}"


def words(study: Study, board: Board | None) -> tuple[str | None, str]:
    """What to take, and the sentences that say so."""
    if study.against:
        return front_words(study)
    task = study.ground.task
    choices = {arm.label: (arm, c) for arm in study.arms if (c := study.choice(arm)) is not None}
    ran, lost = study.count()
    counted = ("1 run was" if ran == 1 else f"{ran} runs were") + " tried" + (f", {lost} of no use" if lost else "")
    if not choices:
        return None, f"On {task.name} nothing came to anything: {counted}. Lower the learning rates."
    leaderboard = [] if board is None else board.summary["tasks"][task.name]["leaderboard"]
    placed = [row for row in leaderboard if row["n"]]
    if not placed:
        _, choice = min(choices.values(), key=lambda pair: pair[1].mean)
        value = figure(_sign(task) * choice.mean)
        said = (
            f"Best on {task.name} by {task.metric}: {choice.strategy}, {value} over {_seeds(choice.seeds)}; {counted}."
        )
        return str(choice.strategy), f"{said} Nothing says yet that this is more than luck: there was no final."
    assert board is not None
    first = placed[0]["label"]
    given = {arm.given_label: str(arm.given) for arm in study.arms}
    strategy = str(choices[first][1].strategy) if first in choices else given[first]
    said = board.summary["tasks"][task.name]["verdict"]
    found = [
        f"Take {strategy}." if first in choices else f"Take {strategy}: as it was given. No tuned setting beat it."
    ]
    found += [said, counted + "."]
    for label, (_, choice) in choices.items():
        row = next((r for r in placed if r["label"] == label), None)
        if row is not None:
            found.append(_luck(label, choice, row, _sign(task)))
    return strategy, " ".join(found)


def front_rows(study: Study) -> list[dict[str, Any]]:
    """The front as plain data; ``fresh``: what each came to on seeds on which the front was not chosen."""
    if not study.against:
        return []
    sign = _sign(study.ground.task)
    return [
        {
            "arm": arm.label,
            "trial": trial.number,
            "strategy": str(study.strategy(arm, trial)),
            "steps": (trial.point or {})[LENGTH],
            "cost": (trial.values or ())[1],
            "value": sign * (trial.values or ())[0],
            "fresh": [sign * value if math.isfinite(value) else None for value in fresh(trial)],
        }
        for arm, trial in study.front()
    ]


def front_lines(study: Study) -> list[str]:
    """The front, a line each."""
    rows = front_rows(study)
    said = ["", f"{study.against or '':>9}  {study.ground.task.metric} (other seeds)"] if rows else []
    for row in rows:
        cost = f"{row['cost']:.0f}" if study.against == "steps" else f"{row['cost']:.2f}"
        others = ", ".join("lost" if v is None else figure(v) for v in row["fresh"]) or "not run"
        said.append(f"{cost:>9}  {figure(row['value'])} ({others})  {row['strategy']}, {row['steps']} steps")
    return said


def front_words(study: Study) -> tuple[str | None, str]:
    """The front in a sentence, and the strategy at its better end."""
    task, rows = study.ground.task, front_rows(study)
    ran, lost = study.count()
    counted = ("1 run was" if ran == 1 else f"{ran} runs were") + " tried" + (f", {lost} of no use" if lost else "")
    if not rows:
        return None, f"On {task.name} nothing came to anything: {counted}. Lower the learning rates."
    unit = "steps" if study.against == "steps" else "processor seconds"
    ends = [f"{task.metric} {figure(r['value'])} for {figure(r['cost'])} {unit}" for r in (rows[0], rows[-1])]
    said = f"On {task.name} {len(rows)} setting{'s' * (len(rows) != 1)} cannot be beaten in both: "
    said += f"from {ends[0]} to {ends[1]}"
    said += f"; {counted}. Which ones these are was seen on one seed; what they come to on others stands beside them."
    return rows[-1]["strategy"], said


def _luck(label: str, choice: Choice, row: Mapping[str, Any], sign: int) -> str:
    """How much of the best value was luck."""
    fresh = row["validation"]["mean"]
    worse = sign * fresh - choice.luckiest
    name = label.removesuffix(", tuned")
    said = f"{name}: the best trial came to {figure(sign * choice.luckiest)} on the seed of the search, "
    said += f"what was chosen comes to {figure(fresh)} on {_seeds(row['n'], 'fresh ')}"
    return f"{said}: {figure(worse)} of it was luck." if worse > 0 else f"{said}."


def _seeds(count: int, kind: str = "") -> str:
    return f"{count} {kind}seed{'s' if count != 1 else ''}"


def _sign(task: Any) -> int:
    return 1 if task.goal == "min" else -1
