import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steepest.report.data import Strategy, load
from steepest.report.figures.gradient import clip_facts
from steepest.report.tables import (
    Cell,
    Column,
    brief,
    clipping,
    full,
    leaderboard,
    lost_runs,
    named,
    overview,
    table,
    with_marks,
)


def cells(markup: str) -> list[list[str]]:
    """The text of a table, row by row, head first."""
    rows = re.findall(r"<tr>(.*?)</tr>", markup)
    split = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in split]


def test_a_table_can_be_read_and_sorted_without_looking() -> None:
    made = table("t", "Its caption", [Column("A", numeric=False), Column("B")], [[Cell("x", "x"), Cell("1", 1.0, "n")]])
    assert 'role="region" aria-label="Its caption" tabindex="0"' in made and "<caption>Its caption</caption>" in made
    assert made.count('scope="col"') == 2 == made.count('aria-sort="none"') and made.count('scope="row"') == 1
    assert 'data-sort="1.0"' in made and cells(made) == [["A", "B"], ["x", "1 n"]]


def test_the_leaderboard_has_every_number(rough: Path) -> None:
    records = load(rough)
    head, first, second, third = cells(leaderboard(records, records.tasks[0], "t"))
    assert head[:6] == ["Strategy", "Rank", "Validation loss", "Test", "Against best", "To target"]
    assert head[6:] == ["Gradients", "CPU", "Lost runs"]
    assert first[0].startswith("B adamw") and first[1] == "1" and first[4:6] == ["best", "220 5 of 5"]
    assert first[2] == "0.273 ± 0.018 n = 5" and first[6:] == ["300", "3.20 s 3.40 s wall", "none"]
    assert second[4] == "+0.013 −0.002 to +0.028 not separable"
    assert third[4].endswith(" separable") and "not" not in third[4] and third[-1] == "1 diverged"


def test_without_a_summary_the_leaderboard_is_made_from_the_runs(
    experiment: Callable[..., Path], tmp_path: Path
) -> None:
    special: dict[tuple[str, str, int], Any] = {("t", "sgd", 1): {"status": "diverged", "stop": 90}}
    records = load(experiment(tmp_path, tasks=("t",), seeds=3, summary=False, runs=special))
    _, first, _, third = cells(leaderboard(records, records.tasks[0], "t"))
    assert first[1] == "1" and first[5] == "220 3 of 3" and first[6] == "300"
    assert third[4] == "– not known" and third[5] == "220 2 of 3" and third[2].endswith("n = 2")
    assert third[-1] == "1 diverged"


def test_one_strategy_has_no_rank(single: Callable[..., Any], tmp_path: Path) -> None:
    single(tmp_path, "t", "a", "a()", 0)
    records = load(tmp_path)
    head, row = cells(leaderboard(records, records.tasks[0], "t"))
    assert "Rank" not in head and "Against best" not in head and len(head) == len(row) == 7


def test_larger_is_better_where_the_goal_says_so(experiment: Callable[..., Path], tmp_path: Path) -> None:
    folder = experiment(tmp_path, tasks=("t",), seeds=3, summary=False)
    text = (folder / "experiment.json").read_text().replace('"goal": "min"', '"goal": "max"')
    (folder / "experiment.json").write_text(text)
    records = load(folder)
    assert [row[0][2:5] for row in cells(leaderboard(records, records.tasks[0], "t"))[1:]] == ["sgd", "tra", "ada"]


def test_the_overview_needs_two_tasks_and_ranks_over_all(rough: Path, experiment: Callable[..., Path]) -> None:
    made = overview(load(rough))
    assert made is not None
    rows = cells(made)
    assert rows[0] == ["Strategy", "digits-cnn", "char-transformer", "Mean rank"]
    assert [row[-1] for row in rows[1:]] == ["3.00", "1.00", "2.00"] and rows[2][1].endswith("rank 1")
    assert overview(load(experiment(rough / "one", tasks=("t",), seeds=1))) is None


def test_clipping_counts_what_was_written(single: Callable[..., Any], tmp_path: Path) -> None:
    single(tmp_path, "t", "adamw", "adamw()", 0, skipped=4)
    records = load(tmp_path)
    facts = clip_facts(records, records.tasks[0], records.strategies[0])
    run = records.runs[0]
    assert facts.clipped_share == float((run.train["grad_norm"] > 1.0).mean()) and facts.skipped == 4
    row = cells(clipping([facts], records.tasks[0], "c"))[1]
    assert row[1] == f"{100 * facts.clipped_share:.1f} %" and row[2] == "4 of 300 steps"


def test_lost_runs_are_listed_with_their_message(rough: Path, experiment: Callable[..., Path]) -> None:
    made = lost_runs(load(rough))
    assert made is not None
    rows = cells(made)[1:]
    assert rows == [
        ["C transformer", "char-transformer", "4", "failed", "40", "worker was killed"],
        ["A sgd", "digits-cnn", "2", "diverged", "120", "loss above 1e6 at step 120"],
    ]
    assert lost_runs(load(experiment(rough / "fine", tasks=("t",), seeds=1))) is None


def test_a_text_is_said_once() -> None:
    recipe, spelt = Strategy(0, "cnn", "sgd(lr=0.1)"), Strategy(1, "sgd(lr=1) | cosine", "sgd(lr=1.0) | cosine()")
    assert "sgd(lr=0.1)" in named(recipe) and "sgd(lr=0.1)" not in brief(recipe)
    assert "cosine()" not in named(spelt) and "cosine()" in full(spelt)


def test_quoted_labels_in_a_verdict_get_their_mark() -> None:
    strategies = [Strategy(0, "a", ""), Strategy(1, "a | b", ""), Strategy(2, "<i>", "")]
    parts = with_marks("'a | b' beats 'a', '<i>' and 'c'; a is not quoted.", strategies)
    text = str(table("t", "c", [Column("A")], [[Cell(parts)]]))
    assert text.count('class="chip"') == 3 and "&lt;i&gt;" in text and "&#x27;c&#x27;; a is not quoted." in text
