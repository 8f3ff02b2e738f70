"""The climb: rung after rung, then the final; every decision is in ``recommend.json`` before the next run begins."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steepest.compare.bench import charged
from steepest.compare.budget import Budget, BudgetError
from steepest.compare.clock import RESERVE
from steepest.compare.display import display
from steepest.compare.estimate import START
from steepest.compare.plan import Candidate, Comparison, Ground, Job, ended
from steepest.compare.pool import Pool
from steepest.compare.search import TUNING_SEED
from steepest.compare.study import cost as cost_of
from steepest.core.records import (
    EXPERIMENT,
    SCHEMA,
    read_result,
    slug,
    write_json,
)
from steepest.recommend.candidates import Entrant
from steepest.recommend.demand import in_gradients, in_seconds
from steepest.recommend.ladder import (
    SHAPES,
    Demand,
    Shape,
    Terms,
    choose,
    cost,
    final_cost,
    lengths,
    rung_cost,
    settings,
    sizes,
)
from steepest.recommend.notebook import Notebook, Noting

RUNGS = "rungs"
SHARE = 0.9
"""How much of the time is planned with; the rest is for what takes longer than it was measured."""
EACH = 0.3
"""Seconds of a run besides its steps and evaluations: kernels, records."""


class OutOfTime(Exception):
    """The budget is spent."""


@dataclass
class Climb:
    """A recommendation in the making; all of it is in the folder."""

    folder: Path
    ground: Ground
    entrants: Sequence[Entrant]
    budget: Budget
    device: str
    at_once: int
    progress: bool
    monitor: str

    def __post_init__(self) -> None:
        self.task = self.ground.task
        self.notebook = Notebook(self.folder, self.record(), self.budget)
        self.state, self.save = self.notebook.state, self.notebook.save
        self.slower = 1.0

    def left(self) -> float:
        """Seconds that may still be planned with."""
        return self.notebook.clock.left()

    def record(self) -> dict[str, Any]:
        """What makes two recommendations the same one; the budget does not."""
        entered = [{"label": e.label, "settings": [c.text for c in e.settings]} for e in self.entrants]
        return {
            "schema": SCHEMA,
            "kind": "recommendation",
            "task": self.task.record(),
            "strategies": entered,
            "device": self.device,
        }

    # -------------------------------------------------------------------------------------------------- the plan

    def plan(self) -> None:
        """Measure the strategies and settle how much is done for each; :class:`BudgetError` where it is too little."""
        if "shape" not in self.state:
            demands, terms = self.demands(), self.terms()
            steps = self.task.steps
            unknown = self.budget.timed and self.device != "cpu"  # nothing is measured there: begin small
            has = (self.left() - START) * SHARE if self.budget.timed else self.budget.amount
            shape = SHAPES[0] if unknown else choose(demands, has, steps, terms)
            if shape is None:
                raise BudgetError(self._too_small(cost(demands, SHAPES[0], steps, terms), len(demands)))
            self.state["shape"] = vars(shape)
            self.state["demands"] = {e.label: d.run for e, d in zip(self.entrants, demands, strict=True)}
        self.save()

    @property
    def shape(self) -> Shape:
        """How much is done for each strategy."""
        return Shape(**self.state["shape"])

    def terms(self) -> Terms:
        """How costs add up."""
        return Terms(self.at_once, EACH) if self.budget.timed else Terms()

    def _too_small(self, least: float, count: int) -> str:
        if self.budget.timed:
            seconds = least / SHARE + START + RESERVE + self.notebook.clock.here
            least = 5 * math.ceil(1.05 * seconds / 5)
        smallest = Budget(math.ceil(least - 1e-9), self.budget.unit)
        return (
            f"a budget of {self.budget} is too small for {count} strateg{'y' if count == 1 else 'ies'} on "
            f"{self.task.name} ({self.task.steps} steps a run): the smallest is about {smallest}. Give that, fewer "
            "strategies, or shorter runs (steps)."
        )

    def demands(self) -> list[Demand]:
        """What a whole run of each strategy costs: seconds, or gradients as a share of a plain run's."""
        if not self.budget.timed:
            return in_gradients(self.entrants)
        late = self.budget.amount / 4
        return in_seconds(self.task, self.entrants, lambda: self.device != "cpu" or self.notebook.clock.spent >= late)

    def standing(self, entrants: Sequence[Entrant]) -> list[Demand]:
        """The demands of some of the entrants, at the pace that was seen."""
        return [Demand(self.slower * self.state["demands"][e.label], len(e.settings)) for e in entrants]

    # -------------------------------------------------------------------------------------------------- the rungs

    def rungs(self, pool: Pool) -> list[tuple[Entrant, Candidate]]:
        """Climb; returns the finalists, best first."""
        steps, places = lengths(self.task.steps), {e.label: e for e in self.entrants}
        left = [(e, list(e.settings[: self.shape.settings])) for e in self.entrants]
        keep = sizes(len(self.entrants), len(steps))
        if len(left) <= 2 and all(len(kept) == 1 for _, kept in left):
            return [(e, kept[0]) for e, kept in left]
        for i, length in enumerate(steps):
            if i and self.state["rungs"][i - 1].get("last"):
                break
            if i == len(self.state["rungs"]):
                if i and self.budget.timed and (less := self._hurry(i, [e for e, _ in left])) is not None:
                    if less == 0:
                        self._straight_to_the_final()
                        break
                    left = [(e, kept[:less]) for e, kept in left]
                entries = [{"label": e.label, "settings": [c.label for c in kept]} for e, kept in left]
                self.state["rungs"].append({"steps": length, "seeds": self.shape.seeds, "entries": entries})
                self.save()
            rung = self.state["rungs"][i]
            left = [
                (places[n["label"]], [c for c in places[n["label"]].settings if c.label in n["settings"]])
                for n in rung["entries"]
            ]
            self._run_rung(pool, i, left)
            ranking = self.rank(i, left)
            alive = [entry for entry in ranking if entry["value"] is not None]
            for entry in alive[: 2 if rung.get("last") else keep[i + 1]]:
                entry["kept"] = True
            rung["ranking"] = ranking
            self.save()
            left = [
                (
                    places[entry["label"]],
                    _best_settings(places[entry["label"]], entry, settings(self.shape.settings, i + 1)),
                )
                for entry in alive[: keep[i + 1]]
            ]
            if not left:
                break
        return [(e, kept[0]) for e, kept in left[:2]]

    def _hurry(self, rung: int, entrants: Sequence[Entrant]) -> int | None:
        """None where the plan still fits; 1 where it fits with one setting of each strategy, 0 with no more rungs."""
        demands, terms, left = self.standing(entrants), self.terms(), self.left()
        steps, total = lengths(self.task.steps), 0.0
        for less in (self.shape.settings, 1):
            standing = sizes(len(self.entrants), len(steps))
            total = final_cost(demands, min(3, self.shape.finals), terms)
            for i in range(rung, len(steps)):
                tried = settings(less, i)
                total += rung_cost(demands, standing[i], tried, self.shape.seeds, steps[i] / self.task.steps, terms)
            if total <= left:
                return None if less == self.shape.settings else 1
        return 0

    def _straight_to_the_final(self) -> None:
        """Where the time is too short for more rungs the two that lead go on, and it is written that this was so."""
        rung = self.state["rungs"][-1]
        rung["last"] = True
        for place, entry in enumerate(rung["ranking"]):
            entry["kept"] = entry["kept"] and place < 2
        self.save()

    def _run_rung(self, pool: Pool, i: int, left: Sequence[tuple[Entrant, list[Candidate]]]) -> None:
        length, total = self.state["rungs"][i]["steps"], len(lengths(self.task.steps))
        ground = Ground(replace(self.task, steps=length), self.ground.spelling)
        candidates = tuple(c for _, kept in left for c in kept)
        comparison = Comparison((ground,), candidates, (0,), self.device, "off")
        jobs = [
            Job(ground, candidate, TUNING_SEED + n, self.place(length, candidate, n), n)
            for n in range(self.shape.seeds)
            for candidate in candidates
        ]
        count = f"{len(left)} strateg{'y' if len(left) == 1 else 'ies'}"
        words = f"rung {i + 1} of {total}: {count} in {length} of {self.task.steps} steps"
        fresh, start = not any(map(charged, jobs)), time.monotonic()
        self._run(pool, comparison, jobs, words, f"rung {i + 1} of {total}", charged)
        expected = rung_cost(self.standing([e for e, _ in left]), len(left), self.shape.settings, self.shape.seeds,
                             length / self.task.steps, self.terms()) + (START if i == 0 else 0.0)  # fmt: skip
        if fresh and expected > 0:
            self.slower *= max(0.5, (time.monotonic() - start) / expected)

    def place(self, length: int, candidate: Candidate, seed: int) -> Path:
        """The folder of a run on a rung."""
        return self.folder / RUNGS / f"{length}-steps" / slug(candidate.label) / f"seed-{seed}"

    def rank(self, i: int, left: Sequence[tuple[Entrant, list[Candidate]]]) -> list[dict[str, Any]]:
        """What each strategy came to on a rung, by its best setting; best first, the lost ones last."""
        length, sign = self.state["rungs"][i]["steps"], 1 if self.task.goal == "min" else -1
        found = []
        for entrant, kept in left:
            tried = []
            for candidate in kept:
                results = [read_result(self.place(length, candidate, n)) for n in range(self.shape.seeds)]
                mean = sum(cost_of(r, self.task) for r in results) / len(results)
                lost = next((r["message"] or r["status"] for r in results if r and r["status"] != "finished"), "")
                value = sign * mean if math.isfinite(mean) else None
                tried.append({"label": candidate.label, "value": value, "message": lost})
            tried.sort(key=lambda t: math.inf if t["value"] is None else sign * t["value"])
            best = tried[0]
            entry = {"label": entrant.label, "setting": best["label"], "value": best["value"], "kept": False}
            found.append({**entry, "message": best["message"], "settings": tried})
        return sorted(found, key=lambda e: math.inf if e["value"] is None else sign * e["value"])

    # -------------------------------------------------------------------------------------------------- the final

    def final(self, pool: Pool, finalists: Sequence[Candidate]) -> list[int]:
        """Winner against runner-up at full length, seed by seed within the budget; returns the seeds that ended."""
        demands = [
            Demand(self.slower * self.state["demands"][e.label], 1)
            for e in self.entrants
            if any(c in finalists for c in e.settings)
        ]
        most, done = self.shape.finals, 0
        while done < most:
            more = most - done
            if self.budget.timed:
                fits = [n for n in range(1, more + 1) if final_cost(demands, n, self.terms()) <= self.left()]
                more = max(fits, default=0 if done else 1)
                more = min(more, 3) if done < 3 else more  # then at the pace of these
            if not more:
                break
            start = time.monotonic()
            comparison = self.comparison(finalists, range(done + more))
            jobs = comparison.jobs(self.folder)
            fresh = not any(map(ended, jobs))
            seeds = f"{done + more} seed{'s' if done + more > 1 else ''}"
            words = f"final: {len(finalists)} strategies, {self.task.steps} steps, {seeds}"
            try:
                self._run(pool, comparison, jobs, words, "the final", charged)
            except OutOfTime:
                break
            if fresh and self.budget.timed:
                pace = (time.monotonic() - start) / max(1e-9, final_cost(demands, more, self.terms()))
                demands = [Demand(d.run * max(0.5, pace), 1) for d in demands]
            done += more
        jobs = self.comparison(finalists, range(most)).jobs(self.folder)
        return [seed for seed in range(most) if all(charged(job) for job in jobs if job.seed == seed)]

    def comparison(self, finalists: Sequence[Candidate], seeds: Sequence[int]) -> Comparison:
        """The final as a comparison."""
        return Comparison((self.ground,), tuple(finalists), tuple(seeds), self.device, self.monitor)

    def claim_final(self, finalists: Sequence[Candidate], seeds: Sequence[int]) -> None:
        """Write ``experiment.json``, so that the folder is that of the final, and can be reported as any comparison."""
        write_json(self.folder / EXPERIMENT, self.comparison(finalists, seeds).record())

    # --------------------------------------------------------------------------------------------------- running

    def _run(self, pool: Pool, comparison: Comparison, jobs: list[Job], words: str, where: str, over: Any) -> None:
        done = [job for job in jobs if over(job)]
        there = {job.key for job in done}
        missing = [job for job in jobs if job.key not in there]
        if not missing:
            return
        if self.left() <= 0:
            raise OutOfTime

        def heading() -> str:
            rest = f"; {Budget(max(0.0, self.left()), 'seconds')} of {self.budget} left" if self.budget.timed else ""
            return f"{words}{self.notebook.best_so_far(self.task.metric)}{rest}"

        with display(self.progress, comparison, jobs, done, heading) as shown:
            audience = Noting(shown, self.notebook)
            complete = pool.run(missing, self.at_once, audience, comparison, self.notebook.clock.last)
        self.save()
        if complete:
            return
        if self.notebook.clock.over:
            raise OutOfTime
        count = sum(over(job) for job in jobs)
        raise KeyboardInterrupt(
            f"in {where}: {count} of {len(jobs)} runs are done{self.notebook.best_so_far(self.task.metric)}"
        )


def _best_settings(entrant: Entrant, entry: Mapping[str, Any], most: int) -> list[Candidate]:
    """The settings of a strategy that go on, best first; those that were lost never do."""
    named = {c.label: c for c in entrant.settings}
    return [named[t["label"]] for t in entry["settings"] if t["value"] is not None][:most]
