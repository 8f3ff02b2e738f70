"""What a search was given and what it tried: the dimensions, arms, trials and legs of a tuning, from its records."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from steepest.core.records import RESULT, RUN
from steepest.report.data import mapping, number, read_json

TUNE, TRIALS = "tune.json", "trials.json"
ENDED = ("finished", "paused", "stopped", "diverged", "failed")
"""A leg that ended in one of these was run, and is charged."""
BROKEN = ("diverged", "failed")


@dataclass(frozen=True)
class Dim:
    """What is searched under one name: a range on a scale, or one of several values."""

    name: str
    low: float = 0.0
    high: float = 1.0
    scale: str = "linear"
    values: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """The name without its piece."""
        return self.name.rpartition(".")[2]

    def place(self, value: Any) -> float | None:
        """Where a value lies: 0 at the low end, 1 at the high one; None where it has no place.

        >>> Dim("lr", 1e-4, 1e-2, "log").place(1e-3), Dim("k", values=("a", "b")).place("b"), Dim("k").place(None)
        (0.5, 0.75, None)
        """
        if self.values:
            return (self.values.index(str(value)) + 0.5) / len(self.values) if str(value) in self.values else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        try:
            low, high, x = (self._on(v) for v in (self.low, self.high, value))
            return round((x - low) / (high - low), 9)
        except (ValueError, ZeroDivisionError):
            return None

    def _on(self, x: float) -> float:
        if self.scale == "log":
            return math.log(x)
        return -math.log(1 - x) if self.scale == "near_one" else x

    def ticks(self) -> tuple[list[float], list[str]]:
        """Places and words of an axis with some four ticks.

        >>> Dim("lr", 1e-4, 1e-2, "log").ticks()
        ([0.0, 0.5, 1.0], ['1e-4', '0.001', '0.01'])
        >>> Dim("momentum", 0.0, 0.99, "near_one").ticks()[1]
        ['0', '0.5', '0.9', '0.99']
        """
        if self.values:
            return [(i + 0.5) / len(self.values) for i in range(len(self.values))], [cut(v) for v in self.values]
        if self.scale == "log":
            found = _decades(self.low, self.high)
        elif self.scale == "near_one":
            known = [1 - x for x in (1.0, 0.5, 0.1, 0.01, 0.001, 0.0001, 0.00001)]
            found = [round(x, 5) for x in known if self.low - 1e-9 <= x <= self.high + 1e-9]
        else:
            found = _even(self.low, self.high)
        found = found if len(found) > 1 else [self.low, self.high]
        places = [self.place(x) for x in found]
        return [p for p in places if p is not None], [brief_number(x) for x in found]


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first >= 1:
        return [float(f"1e{e}") for e in range(first, last + 1, 1 + (last - first) // 5)]
    found = [float(f"{m}e{e}") for e in range(first - 1, last + 1) for m in (1, 2, 5)]
    return [x for x in found if low * 0.999 <= x <= high * 1.001]


def _even(low: float, high: float) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next(s for s in (step, 2 * step, 5 * step, 10 * step) if (high - low) / s <= 5)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def brief_number(x: float) -> str:
    """A number as short as it reads.

    >>> brief_number(1e-4), brief_number(0.001), brief_number(3.0), brief_number(0.00025)
    ('1e-4', '0.001', '3', '2.5e-4')
    """
    text = f"{x:.4g}"
    if x and abs(x) < 1e-3:
        text = f"{x:.3e}"
        mantissa, _, exponent = text.partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text


def cut(text: str, length: int = 14) -> str:
    """Words that fit below an axis."""
    return text if len(text) <= length else text[: length - 1] + "…"


@dataclass(frozen=True)
class Leg:
    """One stretch of work on a trial."""

    number: int
    trial: int
    point: Mapping[str, Any] | None
    seed: int
    steps: int | None
    status: str
    value: float | None
    charge: float
    seconds: float
    attempt: int = 0
    message: str = ""
    begun: float | None = None
    reached: int | None = None
    cost: float | None = None
    """The second objective, where there is one."""

    @property
    def length(self) -> float:
        """How far it goes, or went where it was stopped on its way; infinity for the full length."""
        if self.status == "stopped":
            return float(self.reached or 0)
        return math.inf if self.steps is None else self.steps


@dataclass(frozen=True)
class Try:
    """A trial: a point, and what was done with it."""

    number: int
    legs: tuple[Leg, ...]

    @property
    def point(self) -> Mapping[str, Any]:
        """What was tried."""
        return self.legs[0].point or {}

    @property
    def main(self) -> list[Leg]:
        """The legs on the seed of the search."""
        return [leg for leg in self.legs if leg.seed == 0]

    @property
    def broken(self) -> bool:
        """Whether it diverged or failed on the seed of the search."""
        return bool(self.main) and self.main[-1].status in BROKEN

    @property
    def reached(self) -> Leg | None:
        """The longest leg on the seed of the search that came to a value; None where it is broken, or not there yet."""
        done = [leg for leg in self.main if leg.value is not None and leg.status in ENDED]
        return None if self.broken or not done else max(done, key=lambda leg: (leg.length, leg.number))

    @property
    def value(self) -> float | None:
        """What that leg came to."""
        return None if self.reached is None else self.reached.value

    def repeats(self) -> dict[int, float | None]:
        """What it came to at full length, by seed; None where it was lost."""
        return {leg.seed: leg.value for leg in self.legs if leg.steps is None and leg.status in ENDED}


@dataclass(frozen=True, eq=False)
class Arm:
    """A strategy that is tuned."""

    label: str
    given_label: str
    space: str
    given: str
    dims: tuple[Dim, ...]
    legs: tuple[Leg, ...]
    chosen: Mapping[str, Any]
    importance: Mapping[str, float]
    extended: tuple[str, ...] = ()

    @cached_property
    def trials(self) -> list[Try]:
        """What was tried, in order."""
        found: dict[int, list[Leg]] = {}
        for leg in self.legs:
            found.setdefault(leg.trial, []).append(leg)
        return [Try(number, tuple(legs)) for number, legs in sorted(found.items())]

    def longest(self) -> list[Try]:
        """The trials that came to a value at the greatest length that any has reached."""
        known = [t for t in self.trials if t.reached is not None]
        far = max((t.reached.length for t in known if t.reached), default=0.0)
        return [t for t in known if t.reached and t.reached.length == far]

    def ordered(self) -> list[Dim]:
        """The dimensions, the most important first where that is known."""
        return sorted(self.dims, key=lambda d: -self.importance.get(d.name, 0.0))


@dataclass(frozen=True, eq=False)
class Tuning:
    """A study as it was recorded."""

    record: Mapping[str, Any]
    task: str
    metric: str
    goal: str
    steps: int | None
    share: Mapping[str, Any]
    arms: tuple[Arm, ...]
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def against(self) -> str | None:
        """What the loss is weighed against, where there are two objectives."""
        given = self.record.get("against")
        return None if given is None else str(given)

    @property
    def front(self) -> list[Mapping[str, Any]]:
        """The settings that none beats in both objectives, the cheapest first."""
        return [row for row in self.raw.get("front") or [] if isinstance(row, Mapping)]

    @property
    def sign(self) -> int:
        """1 where smaller is better."""
        return 1 if self.goal == "min" else -1

    @property
    def answer(self) -> Mapping[str, Any] | None:
        """What the study came to; None while it has not ended."""
        return mapping(self.record.get("answer")) or None

    def strategies(self) -> list[dict[str, str]]:
        """The strategies as a final has them, where there is none yet: each arm's choice, and each as it was given."""
        tuned = [{"label": a.label, "text": str(a.chosen.get("strategy") or a.space)} for a in self.arms]
        given = [{"label": a.given_label, "text": a.given} for a in self.arms]
        return [entry for pair in zip(tuned, given, strict=True) for entry in pair]

    def count(self, *statuses: str) -> int:
        """How many legs have one of these statuses."""
        return sum(leg.status in statuses for arm in self.arms for leg in arm.legs)

    def best(self) -> tuple[Arm, Mapping[str, Any]] | None:
        """The arm whose choice is the best so far, and the choice."""
        found = [(arm, arm.chosen) for arm in self.arms if number(arm.chosen.get("value")) is not None]
        return min(found, key=lambda pair: self.sign * pair[1]["value"], default=None)

    def command(self, folder: str) -> str | None:
        """The command that does it again, in another folder; None where the task has no name to be given by."""
        task, sources = self.record.get("spelling"), self.record.get("sources")
        if not task or not sources:
            return None
        texts = list(sources.values()) if isinstance(sources, Mapping) else list(sources)
        words = ["steepest", "tune", str(task), *(w for text in texts for w in ("-s", str(text)))]
        words += ["--budget", str(self.record.get("budget")).replace(" runs", "")]
        usual = {
            "sampler": "auto",
            "scheduler": None,
            "climb": None,
            "against": None,
            "seed": 0,
            "steps": None,
            "device": "cpu",
        }
        for option, default in usual.items():
            value = self.record.get(option)
            words += [f"--{option}", str(value)] if value not in (default, None) else []
        words += ["--no-extend"] if self.record.get("extend") is False else []
        return shlex.join([*words, "--out", f"runs/{folder}-again"])


def read_tuning(root: Path, record: Mapping[str, Any], ledger: Mapping[str, Any] | None, problems: list[str]) -> Tuning:
    """A study from its two files; without ``trials.json`` nothing is known of what was tried."""
    task = mapping(record.get("task"))
    if ledger is None:
        problems.append(f"{TRIALS} is missing: what was tried is not shown.")
        ledger = {}
    said = [entry for entry in ledger.get("arms") or record.get("strategies") or [] if isinstance(entry, Mapping)]
    return Tuning(
        record,
        str(ledger.get("task") or task.get("name") or ""),
        str(ledger.get("metric") or task.get("metric") or "loss"),
        str(ledger.get("goal") or task.get("goal") or "min"),
        ledger.get("steps"),
        mapping(ledger.get("share")),
        tuple(_arm(root, entry) for entry in said),
        ledger,
    )


def _arm(root: Path, entry: Mapping[str, Any]) -> Arm:
    label = str(entry.get("label") or "")
    told = mapping(entry.get("importance"))
    weighed = {name: share for name, of in told.items() if (share := number(of)) is not None}
    legs = [leg for leg in entry.get("legs") or [] if isinstance(leg, Mapping) and {"number", "trial"} <= {*leg}]
    return Arm(
        label,
        str(entry.get("given_label") or f"{label.removesuffix(', tuned')}, as given"),
        str(entry.get("space") or ""),
        str(entry.get("given") or ""),
        tuple(_dim(name, of) for name, of in mapping(entry.get("dimensions")).items()),
        tuple(_leg(root, leg) for leg in legs),
        mapping(entry.get("chosen")),
        weighed,
        tuple(map(str, entry.get("extended") or ())),
    )


def _dim(name: str, of: Mapping[str, Any]) -> Dim:
    if of.get("values"):
        return Dim(name, values=tuple(map(str, of["values"])))
    return Dim(name, float(of.get("low", 0.0)), float(of.get("high", 1.0)), str(of.get("scale", "linear")))


def _leg(root: Path, entry: Mapping[str, Any]) -> Leg:
    seconds = number(entry.get("seconds")) or 0.0
    return Leg(
        int(entry["number"]),
        int(entry["trial"]),
        entry.get("point"),
        int(entry.get("seed") or 0),
        entry.get("steps"),
        str(entry.get("status") or "open"),
        number(entry.get("value")),
        number(entry.get("charge")) or 0.0,
        seconds,
        int(entry.get("attempt") or 0),
        str(entry.get("message") or ""),
        _begun(root / str(entry["folder"]), seconds) if entry.get("folder") else None,
        None if entry.get("reached") is None else int(entry["reached"]),
        number(entry.get("cost")),
    )


def _begun(folder: Path, seconds: float) -> float | None:
    """When a run was begun, in seconds since the epoch: by its own record, to the second.

    The time at which its result was written says it closer, where the files are still those that the run wrote.
    """
    created = (read_json(folder / RUN, []) or {}).get("created")
    try:
        told = datetime.fromisoformat(str(created)).timestamp()
        closer = (folder / RESULT).stat().st_mtime - seconds
    except ValueError:
        return None
    except OSError:
        return told
    return closer if -1.0 <= closer - told <= 2.0 else told


def best_so_far(values: Sequence[float | None], sign: int) -> list[float | None]:
    """The best value up to each place; None before there is any.

    >>> best_so_far([None, 3.0, 4.0, 1.0, None], 1)
    [None, 3.0, 3.0, 1.0, 1.0]
    """
    found: list[float | None] = []
    for value in values:
        known = [v for v in (value, found[-1] if found else None) if v is not None]
        found.append(sign * min(sign * v for v in known) if known else None)
    return found
