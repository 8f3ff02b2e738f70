"""A run is a function of its arguments, whatever happens to the process on the way."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from steepest.core.device import DeviceError
from steepest.core.errors import CheckpointError, RecordError
from steepest.core.records import CHECKPOINT, METRICS, PREVIOUS, RESULT, RUN, Metrics, read_json, read_metrics
from steepest.fit import WentBack, fit, resume
from steepest.strategy import StrategyError, parse
from steepest.tasks.task import Task, TaskError

ADAMW = "adamw(lr=0.01) | warmup_cosine(warmup=0.05) | clip_norm(1.0)"
SGD = "sgd(lr=0.1, momentum=0.9)"
FORK = multiprocessing.get_context("fork")


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def loss(output: Tensor, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(output, batch[1])


def accuracy(output: Tensor, batch: Any) -> Tensor:
    return (output.argmax(1) == batch[1]).float().mean()


def points(n: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def make(**changes: Any) -> Task:
    task = Task("points", model, loss, points(200, 0), points(64, 1), points(64, 2), metrics={"accuracy": accuracy})
    return dataclasses.replace(task, **{"batch_size": 16, "steps": 60, "eval_every": 20, **changes})


def bits(folder: Path) -> tuple[bytes, dict[str, Any], dict[str, Tensor]]:
    """All numbers of a run: metrics file, result without times, final parameters."""
    result = read_json(folder / RESULT)
    for name in ("seconds", "cpu_seconds", "notes", "monitor"):
        del result[name]
    state = torch.load(folder / CHECKPOINT, weights_only=True)["model"]
    return (folder / METRICS).read_bytes(), result, state


def assert_same(a: Path, b: Path) -> None:
    (metrics_a, result_a, state_a), (metrics_b, result_b, state_b) = bits(a), bits(b)
    assert metrics_a == metrics_b
    assert result_a == result_b
    assert state_a.keys() == state_b.keys()
    assert all(torch.equal(state_a[name], state_b[name]) for name in state_a)


class StopAt:
    """Press Ctrl-C after a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self, step: int, loss: float) -> None:
        if step == self.at:
            signal.raise_signal(signal.SIGINT)


def test_a_run_learns_and_says_how_it_ended() -> None:
    run = fit(make(steps=200), ADAMW, progress=False)
    assert run.status == "finished" and run.message == "" and run.folder is None
    first, last = run.metrics("eval")[0], run.metrics("eval")[-1]
    assert last["accuracy"] > 0.85 > first["accuracy"]
    assert run.validation == {k: last[k] for k in ("loss", "accuracy")}
    assert run.test is not None and run.test["accuracy"] == pytest.approx(last["accuracy"], abs=0.15)
    assert run.result["best_validation"] == min(line["loss"] for line in run.metrics("eval"))
    assert run.result["gradient_evaluations"] == run.result["steps"] == 200
    assert 0 < run.result["seconds"] < 60


def test_lines_and_evaluations_come_on_a_fixed_clock() -> None:
    run = fit(make(steps=50, eval_every=15), ADAMW, progress=False, log_every=10)
    assert [line["step"] for line in run.metrics("train")] == [10, 20, 30, 40, 50]
    assert [line["step"] for line in run.metrics("eval")] == [0, 15, 30, 45, 50]
    line = run.metrics("train")[0]
    assert {"kind", "step", "loss", "lr", "grad_norm"} <= set(line)
    assert [line["step"] for line in fit(make(steps=7), SGD, progress=False).metrics("train")] == list(range(1, 8))


def test_the_seed_fixes_the_numbers_and_another_seed_changes_them() -> None:
    torch.manual_seed(1)
    a = fit(make(), ADAMW, seed=3, progress=False).metrics()
    torch.manual_seed(2)
    assert fit(make(), ADAMW, seed=3, progress=False).metrics() == a
    assert fit(make(), ADAMW, seed=4, progress=False).metrics() != a


def test_strategies_share_initialisation_and_data_order() -> None:
    seen: dict[str, list[Any]] = {}

    def watch(strategy: str) -> Task:
        def forward(module: nn.Module, batch: Any) -> Tensor:
            if module.training:
                seen.setdefault(strategy, []).append(batch[0])
            return module(batch[0])

        return make(forward=forward)

    runs = [fit(watch(s), s, seed=5, progress=False) for s in (ADAMW, SGD)]
    assert runs[0].metrics("eval")[0] == runs[1].metrics("eval")[0]
    assert len(seen[ADAMW]) == 60
    assert all(torch.equal(a, b) for a, b in zip(seen[ADAMW], seen[SGD], strict=True))


def test_the_callers_random_numbers_are_left_alone() -> None:
    before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()
    fit(make(steps=5), ADAMW, progress=False)
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert numpy.array_equal(before[2][1], numpy.random.get_state()[1])


def test_the_test_split_is_touched_once_at_the_end() -> None:
    marked = points(64, 2)
    calls: list[str] = []

    def forward(module: nn.Module, batch: Any) -> Tensor:
        if torch.equal(batch[0], marked[0][: len(batch[0])]):
            calls.append("training" if module.training else "evaluation")
        return module(batch[0])

    run = fit(make(test=marked, forward=forward, batch_size=64), ADAMW, progress=False)
    assert calls == ["evaluation"] and run.test is not None
    assert fit(make(test=None), ADAMW, progress=False).test is None


def test_time_to_target_is_the_first_evaluation_that_reaches_it() -> None:
    run = fit(make(steps=200, metric="accuracy", goal="max", target=0.7), ADAMW, progress=False)
    reached = [line["step"] for line in run.metrics("eval") if line["accuracy"] >= 0.7]
    assert run.result["time_to_target_steps"] == reached[0]
    assert fit(make(target=-1.0), ADAMW, progress=False).result["time_to_target_steps"] is None


# going on


@pytest.mark.parametrize("at", [1, 20, 33, 59])
def test_stopped_and_resumed_is_bit_identical(tmp_path: Path, at: int) -> None:
    fit(make(), ADAMW, out=tmp_path / "whole", progress=False)
    stopped = fit(make(), ADAMW, out=tmp_path / "parts", progress=False, on_step=StopAt(at))
    assert stopped.status == "stopped" and f"stopped at step {at} of 60" in stopped.message
    assert "steepest train --resume" in stopped.message
    torch.manual_seed(99)
    again = fit(make(), ADAMW, out=tmp_path / "parts", resume=True, progress=False)
    assert again.status == "finished"
    assert_same(tmp_path / "whole", tmp_path / "parts")


def _fit(folder: Path) -> None:
    torch.set_num_threads(1)
    fit(make(steps=300), ADAMW, out=folder, resume=True, checkpoint_every=7, progress=False)


def test_killed_at_any_moment_and_resumed_is_bit_identical(tmp_path: Path) -> None:
    _fit(tmp_path / "whole")
    draw = random.Random(0)
    for attempt in range(2):
        folder, kills = tmp_path / str(attempt), 0
        for _ in range(20):
            process = FORK.Process(target=_fit, args=(folder,))
            process.start()
            assert process.pid is not None
            time.sleep(draw.uniform(0.05, 0.4))
            if kills < 4:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.join()
            if process.exitcode == 0:
                break
        assert kills and process.exitcode == 0
        assert_same(tmp_path / "whole", folder)


def test_killed_between_the_last_checkpoint_and_the_result(tmp_path: Path) -> None:
    fit(make(), ADAMW, out=tmp_path / "whole", progress=False)
    for lost in ((), (METRICS,)):
        folder = tmp_path / f"parts{len(lost)}"
        fit(make(), ADAMW, out=folder, progress=False)
        for name in (RESULT, *lost):
            (folder / name).unlink()
        run = fit(make(), ADAMW, out=folder, resume=True, progress=False)
        assert run.validation == read_json(tmp_path / "whole" / RESULT)["validation"]
        if not lost:
            assert_same(tmp_path / "whole", folder)


def test_a_finished_run_is_read_and_not_repeated(tmp_path: Path) -> None:
    first = fit(make(), ADAMW, out=tmp_path, progress=False)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    again = fit(make(), ADAMW, out=tmp_path, resume=True, progress=False)
    assert again.result == read_json(tmp_path / RESULT) and again.metrics() == first.metrics()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert again.model is not None and first.model is not None
    for a, b in zip(again.model.state_dict().values(), first.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_resume_needs_only_the_folder(tmp_path: Path) -> None:
    fit("quadratic", "sgd(lr=0.05)", steps=40, out=tmp_path / "whole", progress=False)
    fit("quadratic", "sgd(lr=0.05)", steps=40, out=tmp_path / "parts", progress=False, on_step=StopAt(9))
    assert resume(tmp_path / "parts", progress=False).status == "finished"
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_resume_of_a_task_from_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_mine.py").write_text(
        "from steepest.tasks import load\nfrom dataclasses import replace\n"
        "def task(): return replace(load('quadratic'), name='bowl', steps=30)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    fit("of_mine:task", "sgd(lr=0.05)", out="out", progress=False, on_step=StopAt(9))
    assert read_json(tmp_path / "out" / RUN)["task"] == "bowl"
    assert resume("out", progress=False).status == "finished"


def test_resume_of_a_task_without_a_name_asks_for_it(tmp_path: Path) -> None:
    fit(make(), ADAMW, out=tmp_path, progress=False, on_step=StopAt(9))
    with pytest.raises(
        RecordError, match=r"task 'points', which was made in a script .* resume\(folder, task=\.\.\.\)"
    ):
        resume(tmp_path, progress=False)
    assert resume(tmp_path, task=make(), progress=False).status == "finished"


def test_an_empty_or_missing_folder_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="The folder is empty"):
        resume(tmp_path)
    with pytest.raises(RecordError, match="There is no folder"):
        resume(tmp_path / "nowhere")


def test_a_damaged_checkpoint_goes_back_to_the_previous_one_and_ends_the_same(tmp_path: Path) -> None:
    fit(make(), ADAMW, out=tmp_path / "whole", progress=False)
    fit(make(), ADAMW, out=tmp_path / "parts", checkpoint_every=10, progress=False, on_step=StopAt(37))
    os.truncate(tmp_path / "parts" / CHECKPOINT, 1000)
    with pytest.warns(WentBack, match="previous checkpoint of step 30"):
        run = fit(make(), ADAMW, out=tmp_path / "parts", resume=True, progress=False)
    assert "is damaged" in run.result["notes"][0]
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_both_checkpoints_damaged_is_an_error(tmp_path: Path) -> None:
    fit(make(), ADAMW, out=tmp_path, checkpoint_every=10, progress=False, on_step=StopAt(37))
    for name in (CHECKPOINT, PREVIOUS):
        os.truncate(tmp_path / name, 1000)
    with pytest.raises(CheckpointError, match="No sound checkpoint is left"):
        fit(make(), ADAMW, out=tmp_path, resume=True, progress=False)


def test_a_torn_metrics_line_does_not_matter(tmp_path: Path) -> None:
    fit(make(), ADAMW, out=tmp_path / "whole", progress=False)
    fit(make(), ADAMW, out=tmp_path / "parts", checkpoint_every=10, progress=False, on_step=StopAt(37))
    with open(tmp_path / "parts" / METRICS, "ab") as file:
        file.write(b'{"kind": "train", "step": 38, "lo')
    fit(make(), ADAMW, out=tmp_path / "parts", resume=True, progress=False)
    assert_same(tmp_path / "whole", tmp_path / "parts")


# other folders


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "seed: there 0, here 1"),
        ({"steps": 61}, "steps: there 60, here 61"),
        ({"strategy": SGD}, "strategy: there"),
        ({"task": make(batch_size=8)}, "batch_size: there 16, here 8"),
    ],
)
def test_the_folder_of_another_run_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    settings: dict[str, Any] = {"task": make(), "strategy": ADAMW, "seed": 0}
    fit(**settings, out=tmp_path, progress=False)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(RecordError, match=f"belongs to a different experiment. {said}"):
        fit(**{**settings, **changes}, out=tmp_path, resume=True, progress=False)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_in_use_is_not_overwritten(tmp_path: Path) -> None:
    fit(make(), ADAMW, out=tmp_path / "a", progress=False)
    with pytest.raises(RecordError, match=r"holds this run, finished\. Go on with resume=True"):
        fit(make(), ADAMW, out=tmp_path / "a", progress=False)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("years of work")
    with pytest.raises(RecordError, match=r"holds other files \(thesis.tex\)"):
        fit(make(), ADAMW, out=tmp_path / "b", progress=False)
    with pytest.raises(RecordError, match="is a file"):
        fit(make(), ADAMW, out=tmp_path / "b" / "thesis.tex", progress=False)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "experiment.json").write_text(json.dumps({"kind": "comparison"}))
    with pytest.raises(RecordError, match="holds a comparison"):
        fit(make(), ADAMW, out=tmp_path / "c", progress=False)


def test_a_checkpoint_of_another_model_names_the_parameter(tmp_path: Path) -> None:
    def renamed() -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Identity(), nn.Identity(), nn.Linear(16, 3)
        )

    fit(make(), ADAMW, out=tmp_path, progress=False, on_step=StopAt(9))
    with pytest.raises(CheckpointError, match=r"another model: '5\.weight' of shape \(3, 16\) is missing there"):
        fit(make(model=renamed), ADAMW, out=tmp_path, resume=True, progress=False)


# divergence


def after(step: int, value: float, only: int | None = None) -> Any:
    """A loss that is ``value`` from a training step on, or at that step alone."""
    calls = [0]

    def bad(output: Tensor, batch: Any) -> Tensor:
        if not output.requires_grad:
            return loss(output, batch)
        calls[0] += 1
        hit = calls[0] == step if only else calls[0] >= step
        return loss(output, batch) * (value if hit else 1.0)

    return bad


@pytest.mark.parametrize(("value", "name"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_a_loss_that_becomes_nan_at_step_37_is_a_result_that_says_so(tmp_path: Path, value: float, name: str) -> None:
    task = make(loss=after(37, value))
    with pytest.warns(RuntimeWarning, match="skipped"):
        run = fit(task, ADAMW, out=tmp_path / "guarded", progress=False)
    assert run.status == "diverged"
    assert run.message == f"loss became {name} at step 37 and stayed so: 10 steps in a row were skipped"
    assert run.test is None and run.validation == {"loss": None, "accuracy": None}
    assert read_json(tmp_path / "guarded" / RESULT)["message"] == run.message
    lines = read_metrics(tmp_path / "guarded" / METRICS)
    assert next(line["step"] for line in lines if line["kind"] == "train" and line["loss"] is None) == 37

    run = fit(make(loss=after(37, value)), ADAMW + " | nonfinite('pass')", progress=False)
    assert run.status == "diverged" and run.message == f"loss became {name} at step 37" and run.result["steps"] == 37

    run = fit(make(loss=after(37, value)), ADAMW + " | nonfinite('raise')", progress=False)
    assert run.status == "diverged" and "step 37" in run.message and "not finite" in run.message


def test_one_bad_batch_is_skipped_counted_and_said() -> None:
    with pytest.warns(RuntimeWarning, match="skipped"):
        run = fit(make(loss=after(37, float("nan"), only=1)), ADAMW, progress=False)
    assert run.status == "finished" and run.result["skipped_steps"] == 1
    assert run.message == "1 step was skipped; the first was step 37, where the loss became NaN"
    assert run.validation["loss"] is not None


def test_a_loss_that_runs_away_is_found() -> None:
    task = Task("bowl", lambda: nn.Linear(1, 1, bias=False), lambda out, _: out.square().mean(), None, None, steps=400,
                forward=lambda m, _: m(torch.ones(1, 1)))  # fmt: skip
    run = fit(task, "sgd(lr=1.05)", progress=False)
    assert run.status == "diverged" and "stayed above 1000, 1000 times its start" in run.message
    assert run.result["steps"] < 400


def test_an_error_of_the_task_is_raised_and_the_run_can_go_on(tmp_path: Path) -> None:
    calls = [0]

    def forward(module: nn.Module, batch: Any) -> Tensor:
        calls[0] += module.training
        if calls[0] == 30:
            raise RuntimeError("the data server is away")
        return module(batch[0])

    fit(make(), ADAMW, out=tmp_path / "whole", progress=False)
    with pytest.raises(RuntimeError, match="data server"):
        fit(make(forward=forward), ADAMW, out=tmp_path / "parts", checkpoint_every=10, progress=False)
    fit(make(), ADAMW, out=tmp_path / "parts", resume=True, progress=False)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_full_disk_stops_with_the_last_checkpoint_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(make(), ADAMW, out=tmp_path / "whole", progress=False)
    sync, count = os.fsync, [0]

    def full_later(handle: int) -> None:
        count[0] += 1
        if count[0] > 30:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full_later)
    with pytest.raises(RecordError, match="no space left"):
        fit(make(), ADAMW, out=tmp_path / "parts", checkpoint_every=5, progress=False)
    monkeypatch.undo()
    assert fit(make(), ADAMW, out=tmp_path / "parts", resume=True, progress=False).status == "finished"
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_the_second_ctrl_c_insists() -> None:
    def twice(step: int, _: float) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(make(), ADAMW, progress=False, on_step=twice)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_lone_run_describes_itself(tmp_path: Path) -> None:
    fit(make(), ADAMW, seed=2, out=tmp_path, progress=False)
    experiment, run = read_json(tmp_path / "experiment.json"), read_json(tmp_path / RUN)
    assert experiment["kind"] == "run" and experiment["seeds"] == [2]
    assert experiment["tasks"][0]["parameters"] == run["parameters"] == sum(p.numel() for p in model().parameters())
    assert run["task"] == "points" and experiment["strategies"][0]["text"] == run["strategy"]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="checkpoint_every must be a whole number"):
        fit(make(), ADAMW, checkpoint_every=0)
    with pytest.raises(LookupError, match="Did you mean 'adamw'"):
        fit(make(), "adamv(lr=0.1)")
    with pytest.raises(LookupError, match="no task 'digit-mlp'"):
        fit("digit-mlp", ADAMW)
    with pytest.raises(StrategyError, match=r"None is no strategy\. Give a Strategy, its text"):
        fit("quadratic", None)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="3 is no task"):
        fit(3, ADAMW)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threads must be a whole number >= 1; given 0"):
        fit("quadratic", ADAMW, threads=0)


@pytest.mark.parametrize("device", ["gpu", "mps" if sys.platform == "linux" else "xpu"])
def test_a_device_that_is_not_here_is_refused_before_anything_is_written(device: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=rf"no tensor can be put on '{device}' here: .*\. cpu always works"):
        fit(make(), ADAMW, device=device, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_metrics_stay_open_for_appending(tmp_path: Path) -> None:
    """What another reader sees while the run writes is whole lines."""
    with Metrics(tmp_path / METRICS) as metrics:
        metrics.write({"step": 1})
        metrics.flush()
        assert read_metrics(tmp_path / METRICS) == [{"step": 1}]


def test_a_bar_on_a_terminal_and_silence_elsewhere(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(make(), ADAMW)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    fit(make(), ADAMW)
    drawn = capfd.readouterr().err
    assert "points" in drawn and "60/60" in drawn and "validation loss" in drawn
    fit(make(), ADAMW, progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_metric_that_fails_is_found_before_anything_is_written(tmp_path: Path) -> None:
    task = make(metrics={"accuracy": accuracy, "odd": lambda out, batch: batch[7].mean()})
    with pytest.raises(
        TaskError, match=r"metric 'odd' on a validation batch failed: IndexError: .* \(test_loop.py, line"
    ):
        fit(task, ADAMW, out=tmp_path / "run", progress=False)
    assert list((tmp_path / "run").glob("*")) in ([], [tmp_path / "run" / ".lock"])
    fit(make(), ADAMW, out=tmp_path / "run", progress=False)


def test_an_error_on_the_test_split_costs_no_training(tmp_path: Path) -> None:
    fit(make(), ADAMW, out=tmp_path / "whole", progress=False)
    torn = make(test=(torch.zeros(8, 3), torch.zeros(8)))
    with pytest.raises(RuntimeError):
        fit(torn, ADAMW, out=tmp_path / "parts", progress=False)
    assert torch.load(tmp_path / "parts" / CHECKPOINT, weights_only=True)["step"] == make().steps
    fit(make(), ADAMW, out=tmp_path / "parts", resume=True, progress=False)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(("asked", "width", "used"), [(None, 4, 1), (None, 400_000, 2), (2, 4, 2), (1, 400_000, 1)])
def test_a_small_model_runs_on_one_thread(asked: int | None, width: int, used: int) -> None:
    seen = set()

    def forward(module: nn.Module, batch: Any) -> Tensor:
        if module.training:
            seen.add(torch.get_num_threads())
        return module(batch[0])

    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(4, width // 2), nn.Linear(width // 2, 3))

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        fit(make(model=wide, forward=forward, steps=2), "sgd(lr=0.01)", threads=asked, progress=False)
        assert seen == {used} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("names", [(CHECKPOINT,), (CHECKPOINT, PREVIOUS)])
def test_the_result_of_a_finished_run_stands_without_its_checkpoint(tmp_path: Path, names: tuple[str, ...]) -> None:
    done = fit(make(), ADAMW, out=tmp_path, checkpoint_every=25, progress=False)
    for name in names:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"checkpoint.pt is damaged.*The result stands; the model of its last step"):
        again = fit(make(), ADAMW, out=tmp_path, resume=True, progress=False)
    assert again.result == done.result and again.model is None


@pytest.mark.parametrize(
    ("strategy", "gradients", "steps"),
    [
        (ADAMW, 60, 60),
        (f"{ADAMW} | sam(0.05)", 120, 60),
        (f"{ADAMW} | looksam(0.05, every=5)", 72, 60),
        (f"{ADAMW} | accumulate(4)", 60, 15),
        (f"{ADAMW} | sam | accumulate(4)", 120, 15),
    ],
)
def test_gradients_are_counted_and_a_step_is_a_batch(strategy: str, gradients: int, steps: int, tmp_path: Path) -> None:
    run = fit(make(), strategy, out=tmp_path / "run", progress=False)
    assert run.result["status"] == "finished"
    assert (run.result["steps"], run.result["gradient_evaluations"]) == (60, gradients)
    saved = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["optimizer"]["steepest"]
    assert saved["steps"] == steps


@pytest.mark.parametrize(
    "strategy", [f"{ADAMW} | sam(0.05) | accumulate(3) | lookahead", SGD + " | looksam(0.1) | swa"]
)
def test_wrapped_runs_resume_exactly(strategy: str, tmp_path: Path) -> None:
    fit(make(), strategy, out=tmp_path / "whole", progress=False)
    stopped = fit(make(), strategy, out=tmp_path / "parts", progress=False, on_step=StopAt(31))
    assert stopped.result["status"] == "stopped"
    fit(make(), strategy, out=tmp_path / "parts", resume=True, progress=False)
    whole, parts = bits(tmp_path / "whole"), bits(tmp_path / "parts")
    assert whole[1] == parts[1]
    assert all(torch.equal(whole[2][n], parts[2][n]) for n in whole[2])


@pytest.mark.parametrize("rule", ["sophia(lr=1e-3)", "adahessian", 'sophia(1e-3, estimator="gauss-newton-bartlett")'])
def test_rules_of_the_curvature_get_their_estimates(rule: str) -> None:
    made: list[Any] = []

    class Kept:
        def optimizer(self, model: nn.Module, **lengths: Any) -> Any:
            made.append(parse(rule).optimizer(model, **lengths))
            return made[-1]

    fit("digits-mlp", Kept(), steps=12, progress=False)
    (opt,) = made
    kept = "v" if rule == "adahessian" else "h"
    assert all(float(opt.state[p][kept].abs().max()) > 0 for group in opt.param_groups for p in group["params"])


def test_labels_are_drawn_from_class_scores_alone() -> None:
    def squares(output: Tensor, batch: Any) -> Tensor:
        return (output - batch[1]).square().mean()

    task = make(loss=squares, metrics={}, train=(torch.randn(32, 4), torch.randn(32, 3)))
    with pytest.raises(TaskError, match=r"draws labels from class scores .* Use estimator='hutchinson'"):
        fit(
            dataclasses.replace(task, validation=task.train, test=None),
            'sophia(estimator="gauss-newton-bartlett")',
            progress=False,
        )
