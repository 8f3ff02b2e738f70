from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from steepest.cli.watch import Tail, heat, said
from steepest.doctor import Finding, read
from steepest.monitor import monitor


@pytest.fixture
def run(steepest) -> str:
    words = ("train", "digits-mlp", "-s", "adamw(lr=1e-3) | clip_norm(1)", "--steps", "60", "--out", "one")
    assert steepest(*words, "--monitor", "normal").exit_code == 0
    return "one"


def test_a_finished_run_is_printed_once(steepest, run: str, tmp_path: Path) -> None:
    done = steepest("watch", run, "--once")
    assert done.exit_code == 0, done.output
    for words in ("step 60 of 60, finished", "loss", "gradient norm", "after clipping", "update ratio", "0.weight"):
        assert words in done.output
    steepest("watch", run)  # without --once it ends where the run has ended


def test_the_doctor_looks_at_the_run_as_it_is_now(steepest, tmp_path: Path) -> None:
    steepest("train", "quadratic", "-s", "sgd(lr=1e-5)", "--steps", "60", "--out", "one")
    for name in ("findings.json", "result.json"):
        (tmp_path / "one" / name).unlink(missing_ok=True)
    shown = steepest("watch", "one", "--once").output
    assert "running" in shown and "lr_low: " in shown
    assert not (tmp_path / "one/findings.json").exists(), "watching writes nothing"
    (tmp_path / "one/run.json").write_text("{")
    assert "run.json is missing or damaged" in steepest("watch", "one", "--once").output


def test_a_loop_of_ones_own_has_ended_when_its_monitor_closed(steepest, tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with monitor(model, optimizer, every=1, out=tmp_path / "own") as m:
        m.log(loss=1.0)
        assert "running" in steepest("watch", "own", "--once").output
    done = steepest("watch", "own")  # ends by itself
    assert done.exit_code == 0 and "step 0, ended" in done.output
    with monitor(model, optimizer, every=1, out=tmp_path / "own"):
        assert "running" in steepest("watch", "own", "--once").output


def test_the_doctor_is_not_asked_again_before_there_is_something_new(
    steepest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steepest("train", "quadratic", "-s", "sgd(lr=1e-5)", "--steps", "60", "--out", "one")
    asked: list[Path] = []
    monkeypatch.setattr("steepest.cli.watch.EVERY", 0.0)
    monkeypatch.setattr("steepest.cli.watch.read", lambda folder: asked.append(folder) or read(folder))
    tail = Tail(tmp_path / "one")
    for _ in range(3):
        tail.read()
        assert next(finding.rule for finding in tail.alarms()) == "lr_low"
    assert len(asked) == 1
    with (tmp_path / "one/metrics.jsonl").open("a") as lines:
        lines.write(json.dumps({"kind": "train", "step": 61, "loss": 1.0}) + "\n")
    tail.read()
    tail.alarms()
    assert len(asked) == 2
    monkeypatch.setattr("steepest.cli.watch.EVERY", 60.0)
    tail.place += 1
    tail.alarms()
    assert len(asked) == 2


def test_three_findings_are_shown_and_the_others_counted() -> None:
    one = Finding("frozen", "fact", "broken", "asleep")
    lines = ["doctor", *["frozen: asleep"] * 3, "and 2 more: steepest doctor RUN"]
    assert [text.plain for text in said([one] * 5)] == lines


def test_a_line_that_is_being_written_is_left_for_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "step": 1}\n{"kind": "tra')
    tail = Tail(tmp_path)
    assert tail.read() and len(tail.lines) == 1
    path.write_text('{"kind": "train", "step": 1}\n{"kind": "train", "step": 2}\n')
    assert tail.read() and [line["step"] for line in tail.lines] == [1, 2]
    path.write_text('{"kind": "train", "step": 1}\n')  # the run went back
    assert tail.read() and [line["step"] for line in tail.lines] == [1]


def test_a_folder_without_metrics_is_refused(steepest, tmp_path: Path) -> None:
    done = steepest("watch", tmp_path)
    assert done.exit_code == 2 and "holds no metrics.jsonl" in done.output + done.stderr


def test_colours_follow_the_size_of_the_step() -> None:
    text = heat({"a": 1e-6, "b": 1e-3, "c": 0.5, "d": None})
    assert text.plain == "███·" and [span.style for span in text.spans] == ["blue", "green", "red", "dim"]


def test_the_preset_must_be_known(steepest) -> None:
    done = steepest("train", "quadratic", "-s", "sgd(lr=0.1)", "--out", "x", "--monitor", "loud")
    assert done.exit_code == 2
