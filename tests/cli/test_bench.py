"""``steepest bench`` as it is typed."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from steepest.cli.main import app

RUNNER = CliRunner()


def test_a_bench_says_its_cost_runs_and_scores_again_from_its_records(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    words = ["bench", "rosenbrock", "-s", "sgd(lr=log(1e-4, 1e-2))", "--trials", "2", "--seeds", "1", "--steps", "5"]
    done = RUNNER.invoke(app, [*words, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "budget: 6 trials and 3 final runs, about 45 gradients" in done.output
    assert "sgd, tuned" in done.output and "random search, twice the trials" in done.output
    assert (out / "study.json").exists() and (out / "report.html").exists()
    (out / "report.html").unlink()
    again = RUNNER.invoke(app, ["report", str(out)])
    assert again.exit_code == 0 and (out / "report.html").exists()


def test_an_unknown_suite_and_a_misspelt_range_are_errors_that_help(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["bench", "--suite", "smal", "-s", "adamw"])
    assert done.exit_code == 2 and "Did you mean 'small'?" in done.output
    done = RUNNER.invoke(app, ["bench", "rosenbrock", "-s", "sgd", "--together", "stack", "--out", str(tmp_path / "x")])
    assert done.exit_code == 2 and "Did you mean 'stacked'?" in done.output
    done = RUNNER.invoke(app, ["bench", "rosenbrock", "-s", "adamw(lr=logg(1, 2))", "--out", str(tmp_path / "x")])
    assert done.exit_code == 2 and "Did you mean 'log'?" in done.output and "^^^^" in done.output
    assert not (tmp_path / "x").exists()
