from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from steepest.cli.main import app

SLOW = """
import time
import torch
from torch import nn
from steepest import Task

x = torch.linspace(-1, 1, 64)[:, None]

def loss(output, batch):
    time.sleep(0.02)
    return (output - batch[1]).square().mean()

mine = Task("mine", lambda: nn.Linear(1, 1), loss, train=(x[::2], 3 * x[::2]), validation=(x[1::2], 3 * x[1::2]),
            batch_size=8, steps=60, eval_every=60)

def sick():
    def broken(output, batch):
        if not output.requires_grad:  # the check before the first run finds nothing
            return output.mean()
        raise RuntimeError("the loss is out of order")
    return Task("sick", lambda: nn.Linear(1, 1), broken, train=(x, x), validation=(x, x))
"""
BASE = ("compare", "quadratic", "-s", "sgd(lr=0.1)", "-s", "sgd(lr=0.01)", "--steps", "20", "--jobs", "1")


@pytest.fixture
def mine(tmp_path: Path) -> str:
    name = f"ours_{abs(hash(tmp_path)) % 10**12}"
    (tmp_path / f"{name}.py").write_text(SLOW)
    return name


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the command says of one seed, and the folder that it leaves: for tests that go on from there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("once"))
        done = CliRunner().invoke(app, [*BASE, "--seeds", "1", "--out", "a"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output, Path("a").absolute()


def test_a_comparison_ends_with_verdict_leaderboard_and_report(steepest, tmp_path: Path) -> None:
    done = steepest(*BASE, "--seeds", "3", "--out", "a")
    assert done.exit_code == 0, done.output
    assert "is best" in done.output and "sgd(lr=0.01)" in done.output
    assert "report: a/report.html" in done.output and (tmp_path / "a/report.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "a/summary.json").read_text())["tasks"]["quadratic"]["leaderboard"][0]["n"] == 3
    experiment = json.loads((tmp_path / "a/experiment.json").read_text())
    assert [s["text"] for s in experiment["strategies"]] == ["sgd(lr=0.1)", "sgd(lr=0.01)"]


def test_again_runs_only_what_is_missing(steepest, once: tuple[str, Path], tmp_path: Path) -> None:
    shutil.copytree(once[1], tmp_path / "a")
    first = next((tmp_path / "a/runs").glob("*/*/seed-0/result.json"))
    before = first.stat().st_mtime_ns
    done = steepest(*BASE, "--seeds", "2", "--out", "a")
    assert done.exit_code == 0, done.output
    assert first.stat().st_mtime_ns == before
    assert len(list((tmp_path / "a/runs").glob("*/*/seed-1/result.json"))) == 2


def test_too_few_seeds_suggest_more(once: tuple[str, Path]) -> None:
    assert "more seeds may separate them" in once[0] and "--seeds 2" in once[0]


def test_without_a_folder_the_command_names_its_own(steepest, tmp_path: Path) -> None:
    assert steepest(*BASE, "--seeds", "1").exit_code == 0
    (one,) = (tmp_path / "runs").iterdir()
    assert "1 of 1" not in steepest(*BASE, "--seeds", "1").output
    assert [one] == list((tmp_path / "runs").iterdir())  # the same command finds the same folder
    assert steepest("compare", "quadratic", "-s", "sgd(lr=0.2)", "--steps", "5", "--seeds", "1").exit_code == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


REFUSED = {
    "no strategy": (("quadratic",), "--strategy"),
    "no task": (("-s", "sgd(lr=0.1)"), "TASK"),
    "a misspelt recipe": (("quadratic", "-s", "transfomer"), "Did you mean 'transformer'?"),
    "a misspelt argument": (("quadratic", "-s", "adamw(weight_dekay=0.5)"), "Did you mean 'weight_decay'?"),
    "a misspelt schedule": (("quadratic", "-s", "sgd(lr=0.1) | cosin"), "Did you mean 'cosine'?"),
    "a misspelt task": (("quadratic", "digits-cn", "-s", "cnn"), "Did you mean 'digits-cnn'?"),
    "the same twice": (("quadratic", "-s", "sgd(lr=0.1)", "-s", "sgd(lr=0.1)"), "given twice"),
    "code": (("quadratic", "-s", "__import__('os').getcwd()"), "error:"),
    "no seeds": (("quadratic", "-s", "sgd(lr=0.1)", "--seeds", "0"), "--seeds"),
    "no jobs": (("quadratic", "-s", "sgd(lr=0.1)", "--jobs", "-1"), "--jobs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_clear_message_and_leaves_nothing(steepest, case: str, tmp_path: Path) -> None:
    words, said = REFUSED[case]
    done = steepest("compare", *words)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert not list(tmp_path.glob("**/*.json"))


def test_the_folder_of_another_experiment_is_left_alone(steepest, once: tuple[str, Path], tmp_path: Path) -> None:
    shutil.copytree(once[1], tmp_path / "a")
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*.json*")}
    done = steepest("compare", "quadratic", "-s", "adam(lr=0.1)", "--out", "a")
    assert done.exit_code == 2 and "different experiment" in done.output
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*.json*")} == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b/thesis.tex").write_text("precious")
    done = steepest(*BASE, "--out", "b")
    assert done.exit_code == 2 and "thesis.tex" in done.output


def test_runs_that_fail_are_counted_and_the_rest_is_kept(steepest, mine: str) -> None:
    done = steepest(
        "compare", f"{mine}:sick", "quadratic", "-s", "sgd(lr=0.1)", "--steps", "5", "--seeds", "1", "--out", "a"
    )
    assert done.exit_code == 1
    assert "error: 1 run failed;" in done.output and "a/report.html" in done.output


def test_ctrl_c_ends_cleanly_and_the_same_command_goes_on(shell, copy, mine: str, tmp_path: Path) -> None:
    words = (
        "compare",
        f"{mine}:mine",
        "-s",
        "sgd(lr=0.1)",
        "-s",
        "adam(lr=0.1)",
        "--seeds",
        "2",
        "--out",
        "a",
        "--jobs",
        "2",
    )
    process = shell(*words, "--jobs", "2")
    end = time.monotonic() + 120
    while not list(tmp_path.glob("a/runs/*/*/seed-0/result.json")) and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Go on with: steepest compare" in err and "Traceback" not in err
    again = copy(*words)
    assert again.code == 0, again.err
    assert "of 4 runs are there already" in again.err and "report: a/report.html" in again.out
    results = [json.loads(path.read_text()) for path in tmp_path.glob("a/runs/*/*/*/result.json")]
    assert len(results) == 4 and all(result["status"] == "finished" for result in results)
