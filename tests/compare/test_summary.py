"""Leaderboards and verdicts from records that were written by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from steepest.compare.board import Board
from steepest.compare.plan import run_folder
from steepest.compare.statistics import power
from steepest.core.errors import RecordError
from steepest.core.records import EXPERIMENT, METRICS, RESULT, Metrics, write_json

Value = float | str | None
"""The validation value of a run, or how else it ended; None: not run."""

A = [0.50, 0.52, 0.48, 0.51, 0.49]
B = [0.60, 0.63, 0.57, 0.61, 0.60]  # plainly worse than A
C = [0.51, 0.50, 0.49, 0.52, 0.47]  # like A


def records(
    folder: Path,
    tasks: Mapping[str, Mapping[str, Sequence[Value]]],
    goal: str = "min",
    metric: str = "loss",
    target: float | None = None,
    curve: Sequence[float] = (2.0, 1.0),
) -> Path:
    labels = list(next(iter(tasks.values())))
    seeds = len(next(iter(next(iter(tasks.values())).values())))
    experiment = {
        "kind": "comparison",
        "tasks": [{"name": name, "metric": metric, "goal": goal, "target": target} for name in tasks],
        "strategies": [{"label": label, "text": f"text of {label}"} for label in labels],
        "seeds": list(range(seeds)),
    }
    write_json(folder / EXPERIMENT, experiment)
    for task, strategies in tasks.items():
        for label, values in strategies.items():
            for seed, value in enumerate(values):
                if value is None:
                    continue
                place = run_folder(folder, task, label, seed)
                status = value if isinstance(value, str) else "finished"
                known = {metric: value, "other": 1.0} if status == "finished" else {metric: None}
                with Metrics(place / METRICS) as metrics:
                    for i, v in enumerate([*curve, value if status == "finished" else None]):
                        metrics.write({"kind": "eval", "step": 10 * i, "split": "validation", metric: v})
                result = {
                    "status": status,
                    "message": "because",
                    "validation": known,
                    "test": known if status == "finished" else None,
                }
                times = {"seconds": 2.0, "cpu_seconds": 1.0, "gradient_evaluations": 20}
                write_json(place / RESULT, {**result, **times})
    return folder


def only(folder: Path) -> dict[str, Any]:
    return next(iter(Board.read(folder).summary["tasks"].values()))


def test_the_leaderboard_holds_what_the_records_say(tmp_path: Path) -> None:
    board = only(records(tmp_path, {"digits": {"b": B, "a": A}}))
    first, second = board["leaderboard"]
    assert (first["label"], first["rank"], first["n"]) == ("a", 1, 5)
    assert first["validation"] == {"mean": pytest.approx(0.5), "sd": pytest.approx(0.0158, abs=1e-4), "values": A}
    assert first["seconds"] == {"mean": 2.0} and first["gradient_evaluations"] == {"mean": 20}
    against = second["against_best"]
    assert against["difference"] == pytest.approx(0.102) and 0.08 < against["low"] < 0.102 < against["high"] < 0.13
    assert against["separable"] is True and against["p_better"] == 0.0
    assert first["against_best"]["difference"] == 0 and first["against_best"]["separable"] is None


def test_the_verdict_says_what_is_separable_and_what_is_not(tmp_path: Path) -> None:
    said = only(records(tmp_path / "1", {"digits": {"a": A, "b": B}}))["verdict"]
    assert said.startswith(
        "On digits, 'a' is best: validation loss 0.5 ± 0.016 (5 seeds), 0.102 lower than runner-up 'b' [0.0"
    )
    assert said.endswith("]: separable.")
    said = only(records(tmp_path / "2", {"digits": {"a": A, "c": C, "b": B}}))["verdict"]
    assert "'c' is best" in said and "runner-up 'a'" in said and "the interval covers zero: not separable." in said
    assert said.endswith("If they differ, then by so little that it would take more than 100 seeds to show it.")
    said = only(
        records(tmp_path / "3", {"digits": {"a": A, "c": C, "d": [x + 0.003 * (-1) ** i for i, x in enumerate(A)]}})
    )
    assert said["verdict"].endswith("Not separable from it either: 'd'.")


@pytest.mark.parametrize("arms", ["ad", "abd"])
def test_where_arms_are_not_separable_it_says_how_many_seeds_would_do(tmp_path: Path, arms: str) -> None:
    values = {"a": A, "b": B, "d": [x + e for x, e in zip(A, (0.03, -0.02, 0.04, -0.01, 0.01), strict=True)]}
    board = only(records(tmp_path, {"digits": {arm: values[arm] for arm in arms}}))
    against = board["leaderboard"][1]["against_best"]
    found = re.search(r"not separable\. If they differ by as much as it looks, (\d+) seeds would", board["verdict"])
    assert found and "in 80 % of cases" in board["verdict"]
    n, gap, alpha = int(found[1]), against["difference"] / against["sd"], 0.05 / (1 if arms == "ad" else 3)
    assert power(n, gap, alpha) >= 0.8 > power(n - 1, gap, alpha)


def test_a_metric_that_should_be_large(tmp_path: Path) -> None:
    board = only(records(tmp_path, {"digits": {"a": A, "b": B}}, goal="max", metric="accuracy"))
    assert [row["label"] for row in board["leaderboard"]] == ["b", "a"]
    assert (
        "'b' is best: validation accuracy 0.602" in board["verdict"]
        and "higher than runner-up 'a' [0.0" in board["verdict"]
    )
    assert board["leaderboard"][1]["against_best"]["difference"] == pytest.approx(-0.102)


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_seeds_say_nothing_about_luck(tmp_path: Path, n: int) -> None:
    board = only(records(tmp_path, {"digits": {"a": A[:n], "b": B[:n]}}))
    assert "too few seeds to tell this from luck; take at least 3" in board["verdict"]
    assert board["leaderboard"][1]["against_best"]["separable"] is None


def test_identical_strategies_are_not_separable(tmp_path: Path) -> None:
    assert "exactly as 'b': not separable" in only(records(tmp_path, {"digits": {"a": A, "b": A}}))["verdict"]


def test_a_duplicate_changes_nothing_for_the_others(tmp_path: Path) -> None:
    alone = only(records(tmp_path / "1", {"digits": {"a": A, "b": B, "c": C}}, target=0.55))
    more = only(records(tmp_path / "2", {"digits": {"a": A, "b": B, "b again": B, "c": C}}, target=0.55))
    rows = {row["label"]: row for row in more["leaderboard"]}
    for row in alone["leaderboard"]:
        assert {**rows[row["label"]], "rank": row["rank"]} == row


def test_the_order_of_strategies_does_not_matter(tmp_path: Path) -> None:
    one = Board.read(records(tmp_path / "1", {"t": {"a": A, "b": B, "c": C}})).summary
    two = Board.read(records(tmp_path / "2", {"t": {"c": C, "b": B, "a": A}})).summary
    assert one == two


def test_a_diverged_run_puts_a_strategy_last_and_is_said(tmp_path: Path) -> None:
    wild: list[Value] = [0.1, 0.1, "diverged", 0.1, 0.1]
    board = only(records(tmp_path, {"digits": {"a": A, "wild": wild, "b": B}}))
    assert [(r["label"], r["rank"]) for r in board["leaderboard"]] == [("a", 1), ("b", 2), ("wild", 3)]
    assert board["leaderboard"][2]["diverged"] == 1 and board["leaderboard"][2]["validation"]["values"][2] is None
    assert board["verdict"].endswith("'wild' diverged on 1 of 5 seeds (because).")


def test_what_never_finished_has_no_rank(tmp_path: Path) -> None:
    lost: list[Value] = ["diverged"] * 5
    board = only(records(tmp_path / "1", {"digits": {"lost": lost, "a": A}}))
    assert [(r["label"], r["rank"]) for r in board["leaderboard"]] == [("a", 1), ("lost", None)]
    assert "no other strategy finished a run" in board["verdict"]
    assert "no run finished" in only(records(tmp_path / "2", {"digits": {"lost": lost}}))["verdict"]


def test_failed_and_missing_runs_are_counted_and_the_rest_is_paired(tmp_path: Path) -> None:
    partly: list[Value] = [0.60, "failed", 0.57, None, 0.60]
    board = only(records(tmp_path, {"digits": {"a": A, "b": partly}}))
    row = board["leaderboard"][1]
    assert row["lost"] == [{"seed": 1, "status": "failed", "message": "because"}]
    assert (row["n"], row["failed"], row["missing"], row["diverged"]) == (3, 1, 1, 0)
    assert row["against_best"]["n"] == 3 and row["against_best"]["difference"] == pytest.approx(
        (0.10 + 0.09 + 0.11) / 3
    )
    assert "'b' failed on 1 of 5 seeds (because); 'b' has not ended on 1 of 5 seeds." in board["verdict"]


def test_strategies_that_share_no_seed_are_not_compared(tmp_path: Path) -> None:
    board = only(records(tmp_path, {"digits": {"a": [0.5, "failed"], "b": ["failed", 0.6]}}))
    assert "shares no finished seed" in board["verdict"]


def test_a_stopped_run_is_missing(tmp_path: Path) -> None:
    assert only(records(tmp_path, {"digits": {"a": A, "b": ["stopped", *B[1:]]}}))["leaderboard"][1]["missing"] == 1


def test_time_to_target_is_the_first_evaluation_there(tmp_path: Path) -> None:
    board = only(records(tmp_path, {"t": {"a": A, "b": B}}, target=0.505, curve=(2.0, 1.0, 0.9)))
    assert board["target"] == 0.505 and board["target_source"] == "task"
    assert board["leaderboard"][0]["time_to_target"] == {"steps": 30, "reached": 3, "n": 5}
    assert board["leaderboard"][1]["time_to_target"] == {"steps": None, "reached": 0, "n": 5}


def test_a_curve_damaged_afterwards_is_left_out_of_time_to_target(tmp_path: Path) -> None:
    folder = records(tmp_path, {"t": {"a": A}}, target=0.505)
    path = run_folder(folder, "t", "a", 0) / METRICS
    path.write_bytes(b"?" + path.read_bytes())
    assert only(folder)["leaderboard"][0]["time_to_target"] == {"steps": None, "reached": 2, "n": 4}
    assert only(folder)["leaderboard"][0]["n"] == 5


def test_without_a_target_the_median_strategy_sets_it(tmp_path: Path) -> None:
    board = only(records(tmp_path / "3", {"t": {"a": A, "b": B, "c": C}}, curve=(2.0, 0.5)))
    assert board["target_source"] == "median strategy" and board["target"] == pytest.approx(0.5)
    two = only(records(tmp_path / "2", {"t": {"a": A, "b": B}}))
    assert two["target"] == pytest.approx(0.602)
    assert two["leaderboard"][0]["time_to_target"] == {"steps": 20, "reached": 5, "n": 5}


def test_several_tasks_have_ranks_and_a_geometric_mean(tmp_path: Path) -> None:
    board = Board.read(records(tmp_path, {"one": {"a": A, "b": B}, "two": {"a": B, "b": [4 * x for x in A]}}))
    ranks = board.summary["overall"]["ranks"]
    assert [(r["label"], r["mean_rank"], r["wins"]) for r in ranks] == [("a", 1.0, 2), ("b", 2.0, 0)]
    assert ranks[1]["geometric_mean"] == pytest.approx(((0.602 / 0.5) * (2.0 / 0.602)) ** 0.5)
    assert ranks[0]["geometric_mean"] == 1.0
    assert board.summary["overall"]["verdict"].startswith(
        "Over 2 tasks, 'a' has the best mean rank, 1; it is first on 2 of 2"
    )
    assert board.verdict.count("\n") == 2


def test_a_strategy_that_cannot_train_a_task_never_reaches_its_target(tmp_path: Path) -> None:
    tasks = {"one": {"a": A, "b": B}, "two": {"a": ["failed"] * 5, "b": B}}
    suite = Board.read(records(tmp_path / "failed", tasks, target=0.9)).summary["overall"]["suite"]
    assert suite["times"] == {"a": {"one": 20.0, "two": None}, "b": {"one": 20.0, "two": 20.0}}
    assert suite["score"] == {"a": 0.5, "b": 1.0}
    tasks["two"]["a"] = ["failed"] * 4 + [None]  # has not ended: there is no score yet
    assert Board.read(records(tmp_path / "missing", tasks, target=0.9)).summary["overall"]["suite"] is None


def test_no_geometric_mean_of_negative_values(tmp_path: Path) -> None:
    board = Board.read(records(tmp_path, {"t": {"a": [-x for x in A], "b": B}}))
    assert [r["geometric_mean"] for r in board.summary["overall"]["ranks"]] == [None, None]


def test_the_summary_is_json_without_nan(tmp_path: Path) -> None:
    board = Board.read(records(tmp_path, {"t": {"a": A, "b": ["diverged"] * 5, "c": [None] * 5}}))
    board.save()
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == board.summary


def test_the_table_shows_every_strategy_and_the_verdict_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board.read(records(tmp_path, {"digits": {"a": A, "[b]": B, "c": ["diverged"] * 5}}))
    text = board.table(show=False)
    assert capsys.readouterr().out == ""
    assert text.startswith("On digits, 'a' is best")
    assert all(word in text for word in ("[b]", "0.5 ± 0.016", "5 diverged", "never (0/5)"))
    assert board.table().split() and "is best" in capsys.readouterr().out


def test_a_report_is_what_the_renderer_makes(tmp_path: Path) -> None:
    folder = records(tmp_path, {"digits": {"a": A}})
    asked: list[tuple[Path, Path]] = []
    board = Board.read(folder, render=lambda source, path: asked.append((source, path)))
    assert board.report(tmp_path / "report.html") == tmp_path / "report.html"
    assert asked == [(folder, tmp_path / "report.html")]
    with pytest.raises(RecordError, match="steepest report"):
        Board.read(folder).report("report.html")


def test_a_folder_that_is_no_comparison_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"experiment\.json is not there"):
        Board.read(tmp_path)
    write_json(tmp_path / EXPERIMENT, {"kind": "run"})
    with pytest.raises(RecordError, match="holds a single run"):
        Board.read(tmp_path)


def test_the_distance_over_several_tasks_is_said_in_words(tmp_path: Path) -> None:
    def overall(name: str, scale: float) -> str:
        three = {"one": {"a": A, "b": B}, "two": {"a": A, "b": B}, "three": {"a": [scale * x for x in A], "b": A}}
        return str(Board.read(records(tmp_path / name, three)).summary["overall"]["verdict"])

    said = "it is first on 2 of 3, and its values are {} the best of each task in the geometric mean"
    assert said.format("0.332% off") in overall("little", 1.01)
    assert said.format("within 0.1% of") in overall("least", 1.0001)
    assert said.format("a factor of 4.64 off") in overall("much", 100.0)


def test_one_strategy_or_no_finished_run_has_no_best(tmp_path: Path) -> None:
    alone = Board.read(records(tmp_path / "alone", {"one": {"a": A}, "two": {"a": A}}))
    assert alone.summary["overall"]["verdict"].endswith("'a' stands alone: there is nothing to compare it with.")
    lost = {"a": ["diverged"] * 5, "b": ["diverged"] * 5}
    none = Board.read(records(tmp_path / "none", {"one": lost, "two": lost}))
    assert none.summary["overall"]["verdict"] == "Over 2 tasks, no run finished."


def test_equal_means_of_different_runs_are_said_to_be_equal(tmp_path: Path) -> None:
    board = only(records(tmp_path, {"t": {"a": [0.5, 0.25, 0.75], "b": [0.75, 0.5, 0.25]}}))
    assert "(3 seeds), the same mean as runner-up 'b' [" in board["verdict"] and "not separable" in board["verdict"]


def test_the_verdict_says_what_did_not_cost_the_same(tmp_path: Path) -> None:
    folder = records(tmp_path, {"t": {"plain": A, "sam": B, "broken": ["diverged"] * 5}})
    assert "equal cost" not in Board.read(folder).verdict
    for seed in range(5):
        for label, cost in (("sam", 40), ("broken", 99)):
            place = run_folder(folder, "t", label, seed) / RESULT
            write_json(place, {**json.loads(place.read_text()), "gradient_evaluations": cost})
    said = Board.read(folder).verdict
    assert said.endswith("Not at equal cost: 'sam' took 2 times as many gradients a run as the cheapest.")
