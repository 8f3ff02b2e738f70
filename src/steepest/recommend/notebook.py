"""``recommend.json``: every decision and the time that was spent, over all calls on a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steepest.compare.budget import Budget
from steepest.compare.clock import Clock
from steepest.compare.display import Silent
from steepest.compare.plan import Job
from steepest.compare.verdict import figure
from steepest.core.records import RECOMMENDATION, provenance, read_json, write_json


class Notebook:
    """What is written down, and the clock beside it.

    Args:
        folder: Of the recommendation.
        record: What a new notebook begins with.
        budget: Of this call; one of an earlier call is forgotten, the time that it took is not.
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], budget: Budget) -> None:
        self.path = folder / RECOMMENDATION
        there = read_json(self.path) if self.path.exists() else {**record, **provenance(), "rungs": []}
        self.state: dict[str, Any] = {**there, "budget": str(budget)}
        self.clock = Clock(budget, float(self.state.get("spent", 0.0)))

    def save(self) -> None:
        """Write everything down."""
        self.clock.note()
        write_json(self.path, {**self.state, "spent": self.clock.spent})

    def best_so_far(self, metric: str) -> str:
        """The leader of the last rung that was judged, as the end of a sentence."""
        for rung in reversed(self.state["rungs"]):
            best: Mapping[str, Any] | None = next((e for e in rung.get("ranking", ()) if e["value"] is not None), None)
            if best is not None:
                return f"; best so far {best['setting']!r}: {metric} {figure(best['value'])} ({rung['steps']} steps)"
        return ""


class Noting(Silent):
    """Passes on what happens, and notes every few seconds how much time was spent."""

    def __init__(self, shown: Silent, notebook: Notebook) -> None:
        self.shown, self.notebook = shown, notebook

    def started(self, job: Job) -> None:
        self.shown.started(job)

    def step(self, job: Job, step: int) -> None:
        self.shown.step(job, step)

    def ended(self, job: Job, status: str, message: str) -> None:
        self.shown.ended(job, status, message)

    def retried(self, job: Job, message: str) -> None:
        self.shown.retried(job, message)

    def tick(self) -> None:
        self.shown.tick()
        if self.notebook.clock.due:
            self.notebook.save()
