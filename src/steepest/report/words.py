"""Numbers and verdicts in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steepest.report.data import Records, Run, Task, number

DASH = "–"


def figure(value: float | None, digits: int = 4) -> str:
    """A number with ``digits`` significant digits, and a dash where there is none.

    >>> figure(0.0712345), figure(1234.5678), figure(None), figure(3e-7), figure(0.0)
    ('0.07123', '1235', '–', '3e-07', '0')
    """
    if value is None or not math.isfinite(value):
        return DASH
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{max(digits - 2, 2)}g}"
    places = digits - 1 - (math.floor(math.log10(abs(value))) if value else digits - 1)
    return f"{value:.{max(places, 0)}f}"


def spread(mean: float | None, sd: float | None) -> str:
    """Mean and standard deviation, both to the place where the deviation has two digits.

    >>> spread(0.071234, 0.0034567), spread(0.5, None), spread(1.6531, 0.021), spread(1.0, 0.0)
    ('0.0712 ± 0.0035', '0.5000', '1.653 ± 0.021', '1.000 ± 0')
    """
    if mean is None:
        return DASH
    if sd is None:
        return figure(mean)
    if sd == 0 or not 1e-6 < sd < 1e6 or abs(mean) >= 1e6:
        return f"{figure(mean)} ± {figure(sd, 2)}"
    places = min(max(1 - math.floor(math.log10(sd)), 0), 8)
    return f"{mean:.{places}f} ± {sd:.{places}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign; the minus is a true minus.

    >>> signed(0.0123), signed(-0.5), signed(0.0), signed(None)
    ('+0.0123', '−0.500', '0', '–')
    """
    if value is None:
        return DASH
    return ("+" if value > 0 else "−" if value < 0 else "") + figure(abs(value), digits)


def count(value: float | None) -> str:
    """A number of things; one decimal where a mean is no whole number.

    >>> count(300.0), count(12345.0), count(10.25), count(None)
    ('300', '12,345', '10.2', '–')
    """
    if value is None:
        return DASH
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def difference(value: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    """A difference and its interval, all to the place where the interval's half width has two digits.

    >>> difference(0.01324, -0.00183, 0.02821)
    ('+0.013', '−0.002 to +0.028')
    >>> difference(0.01324, None, None)
    ('+0.0132', '')
    """
    if value is None or low is None or high is None or not 1e-6 < high - low < 1e6:
        interval = "" if low is None or high is None else f"{signed(low)} to {signed(high)}"
        return signed(value), interval
    places = min(max(1 - math.floor(math.log10((high - low) / 2)), 0), 8)
    shown = [f"{x:+.{places}f}".replace("-", "−") for x in (value, low, high)]
    return shown[0], f"{shown[1]} to {shown[2]}"


def moment(created: str) -> str:
    """A time of a record as people read it.

    >>> moment("2026-11-20T12:00:31+00:00")
    '2026-11-20 12:00 UTC'
    """
    day, _, clock = created.partition("T")
    return f"{day} {clock[:5]} UTC" if clock.endswith(("+00:00", "Z")) else created


def duration(seconds: float | None) -> str:
    """Seconds in the unit that reads best.

    >>> duration(0.5), duration(12.34), duration(75), duration(7400), duration(None)
    ('0.50 s', '12.3 s', '1 min 15 s', '2 h 03 min', '–')
    """
    if seconds is None:
        return DASH
    if seconds < 59.95:
        return f"{figure(seconds, 3 if seconds >= 1 else 2)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def plural(n: int, word: str) -> str:
    """A count and its noun.

    >>> plural(1, "seed"), plural(5, "seed"), plural(2, "strategy")
    ('1 seed', '5 seeds', '2 strategies')
    """
    many = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{n} {word if n == 1 else many}"


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def mean_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation; the deviation needs two values.

    >>> mean_sd([1.0, 3.0]), mean_sd([2.0]), mean_sd([])
    ((2.0, 1.4142135623730951), (2.0, None), (None, None))
    """
    if not values:
        return None, None
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def run_verdict(run: Run, task: Task) -> str:
    """What became of one run, in a sentence."""
    who = f"{run.strategy.label!r} on {task.name}, seed {run.seed}:"
    curve = run.curve(task.metric, "validation").finite()
    if run.status == "diverged":
        return f"{who} diverged at step {int(number(run.result.get('steps')) or run.last_step)}."
    if run.status == "failed":
        return f"{who} failed. {run.result.get('message') or ''}".strip()
    end = run.final(task.metric)
    if end is None and len(curve.values):
        end = float(curve.values[-1])
    if end is None:
        return f"{who} nothing was evaluated yet."
    steps = int(number(run.result.get("steps")) or run.last_step)
    words = f"{who} validation {task.metric} {figure(end)} after {plural(steps, 'step')}"
    if len(curve.values):
        best = int(curve.values.argmin() if task.goal == "min" else curve.values.argmax())
        words += f" (first {figure(float(curve.values[0]))}, best {figure(float(curve.values[best]))}"
        words += f" at step {int(curve.steps[best])})"
    return words + {"unfinished": "; the run is not finished.", "stopped": "; the run was stopped."}.get(
        run.status, "."
    )


def standing(records: Records, task: Task) -> str:
    """How a task stands when no summary was written: the lowest (or highest) mean so far, and no claim beyond it."""
    means = []
    for strategy in records.strategies:
        values = [value for run in records.of(task, strategy) if (value := run.final(task.metric)) is not None]
        if values:
            means.append((sum(values) / len(values), len(values), strategy.label))
    done = sum(run.status in ("finished", "diverged", "failed") for run in records.of(task))
    progress = f"{done} of {plural(len(records.of(task)), 'run')} ended"
    if not means:
        return f"{task.name}: {progress}; no strategy has a result yet."
    mean, n, label = min(means) if task.goal == "min" else max(means)
    best = "lowest" if task.goal == "min" else "highest"
    return (
        f"{task.name}: {progress}; {best} mean validation {task.metric} so far: {label!r} "
        f"with {figure(mean)} ({plural(n, 'seed')}). No interval was computed, so this separates nothing."
    )
