from collections.abc import Callable
from pathlib import Path
from typing import Any

from steepest.report.data import Strategy, load
from steepest.report.figures.gradient import ClipFacts
from steepest.report.notes import clipping_notes, notes


def facts(label: str, share: float | None, *, skipped: int = 0, steps: int = 1000) -> ClipFacts:
    return ClipFacts(Strategy(0, label, ""), share is not None, share, skipped, steps, 1.0, 2.0, 3.0)


def test_the_share_of_clipped_steps_is_explained_only_where_it_is_telling() -> None:
    assert list(clipping_notes([facts("a", 0.2), facts("b", None), facts("c", 0.9, steps=49)])) == []
    most, idle, skipped = clipping_notes([facts("a", 0.75), facts("b", 0.004), facts("c", 0.1, skipped=7)])
    assert most.startswith("'a' (75 %): more than half") and idle.startswith("'b': fewer than 1 %")
    assert skipped == "Steps skipped because the gradient norm was not finite: 'c' (7 of 1000)."


def test_notes_fit_the_folder(rough: Path, experiment: Callable[..., Path], single: Callable[..., Any]) -> None:
    said = " ".join(notes(load(rough)))
    assert "5 seeds a strategy" in said and "2 runs diverged or failed" in said and "summary.json" not in said
    half = " ".join(notes(load(experiment(rough / "half", tasks=("t",), seeds=2, summary=False))))
    assert "no summary.json" in half and "diverged" not in half and "“Separable”" not in half
    single(rough / "one", "t", "a", "a()", 0)
    one = " ".join(notes(load(rough / "one")))
    assert one.startswith("One seed") and "ranked" not in one
