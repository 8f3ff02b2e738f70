"""Folders in, findings out: comparisons, short runs, damage; and the trial of a suggestion."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from steepest.compare import compare
from steepest.core.errors import RecordError
from steepest.core.records import FINDINGS, read_checkpoint, write_json
from steepest.doctor import Finding, Try, diagnose, examine, read, top
from steepest.doctor.beginning import again, newest
from steepest.doctor.change import cooled, replaced, scaled, warmed, with_argument, without
from steepest.doctor.diagnose import grouped, looks
from steepest.doctor.evidence import Evidence
from steepest.doctor.trial import trials
from steepest.fit import fit
from steepest.fit.loop import one_step
from steepest.strategy import parse
from steepest.tasks import load
from steepest.tasks.randomness import seed_all


def test_findings_are_kept_and_read_back(made) -> None:
    folder = made(loss=2.0)
    (found,) = diagnose(folder)
    kept = json.loads((folder / FINDINGS).read_text())
    assert kept["kind"] == "findings" and len(kept["runs"]) == 1
    assert [f["rule"] for f in kept["runs"][0]["findings"]] == [f.rule for f in found.findings]
    assert kept["runs"][0]["findings"][0]["rule"] == "flat" == top([found]).rule  # type: ignore[union-attr]


def test_nothing_is_written_where_it_is_not_asked_for(made) -> None:
    folder = made()
    before = sorted(folder.iterdir())
    diagnose(folder, write=False)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("steps", [0, 10, 49])
def test_no_advice_on_few_steps(made, steps: int) -> None:
    findings = examine(read(made(steps=steps, loss=lambda t: 100.0 + t))).findings
    assert (
        [f.rule for f in findings] == ["length"] and findings[0].state == "unknown" and str(steps) in findings[0].said
    )
    assert examine(read(made("long", steps=50, loss=2.0))).alarms


def test_a_run_that_broke_early_is_a_fact_without_advice(made) -> None:
    findings = examine(read(made(steps=12, loss=lambda t: math.nan if t > 6 else 2.0, status="diverged"))).findings
    assert findings[0].rule == "nonfinite" and findings[0].state == "fact" and findings[0].test is None


def test_a_run_that_goes_on_is_read_as_far_as_it_is(made) -> None:
    folder = made(status=None, loss=2.0)
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write('{"kind": "train", "step": 101, "lo')
    run = read(folder)
    assert run.status == "unfinished" and run.torn == 1 and run.taken == 100
    assert examine(run).alarms


def test_odd_lines_are_counted_and_left_out(made) -> None:
    folder = made()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    odd = [
        "nonsense",
        "[1, 2]",
        '{"kind": "train"}',
        '{"kind": "train", "step": "seven"}',
        '{"kind": "other", "step": 3}',
        "",
    ]
    text = '{"kind": "train", "step": 7, "loss": "high", "lr": null, "grad_norm": true}'
    (folder / "metrics.jsonl").write_text("\n".join([*lines[:30], *odd, text, *lines[30:]]) + "\n")
    run = read(folder)
    assert run.torn == 4
    assert run.taken == 100 and len(run.loss) == 100
    examine(run)


def test_all_values_null(made) -> None:
    run = read(
        made(loss=math.nan, norm=math.nan, lr=math.nan, watched=lambda _: {"update_ratio": {"a.weight": math.nan}})
    )
    assert {f.rule for f in examine(run).findings if f.state != "unknown"} == {"nonfinite"}


def test_a_strategy_that_is_none_of_ours_still_has_findings_without_a_text_to_try(made) -> None:
    (found,) = diagnose(made(strategy="<my optimizer>", loss=2.0))
    assert found.evidence.strategy is None and [f.rule for f in found.alarms] == ["flat"]
    assert found.alarms[0].test is not None and found.alarms[0].test.strategy is None


def test_a_rule_that_fails_has_judged_nothing_and_the_others_still_speak(made, monkeypatch) -> None:
    def fails(_: Evidence) -> None:
        raise ZeroDivisionError("float division by zero")

    evidence = read(made())
    before = examine(evidence).findings
    monkeypatch.setitem(examine.__globals__, "looks", lambda: {**looks(), "broken": fails})
    (new,) = [finding for finding in examine(evidence).findings if finding not in before]
    assert (new.rule, new.state) == ("broken", "unknown") and not new.alarm
    assert "ZeroDivisionError: float division by zero" in new.said


def test_records_without_metrics(made) -> None:
    folder = made()
    (folder / "metrics.jsonl").unlink()
    (found,) = diagnose(folder)
    assert [f.rule for f in found.findings] == ["length"]


@pytest.mark.parametrize("what", ["missing", "file", "foreign", "damaged"])
def test_a_folder_that_cannot_be_read_says_what_to_give(made, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "run"
    if what == "file":
        folder.write_text("")
    elif what == "foreign":
        folder.mkdir()
        (folder / "notes.txt").write_text("")
    elif what == "damaged":
        (made() / "run.json").write_text("{")
    with pytest.raises(RecordError, match=r"run"):
        diagnose(folder)
    assert not (folder / FINDINGS).exists()


def test_a_comparison_is_all_its_runs_and_a_damaged_one_is_said(made, tmp_path: Path) -> None:
    root = tmp_path / "comparison"
    for label in ("good", "bad"):
        for seed in (0, 1):
            made(
                f"comparison/runs/hand/{label}/seed-{seed}",
                label=label,
                seed=seed,
                loss=2.0 if label == "bad" else falling,
            )
    write_json(
        root / "experiment.json", {"kind": "comparison", "tasks": [{"name": "hand", "metric": "loss", "goal": "min"}]}
    )
    groups = grouped(diagnose(root))
    assert {label: [len(d.alarms) for d in runs] for (_, label), runs in groups.items()} == {
        "bad": [1, 1],
        "good": [0, 0],
    }
    (root / "runs/hand/bad/seed-0/run.json").write_text("{")
    found = diagnose(root)
    assert len(found) == 4
    assert [f.rule for d in found for f in d.findings if f.rule == "records"] == ["records"]


def falling(step: int) -> float:
    return 0.5 + 1.5 * math.exp(-step / 8)


def test_findings_do_not_keep_a_comparison_or_a_run_from_going_on(tmp_path: Path) -> None:
    fit("quadratic", "sgd(lr=0.1)", steps=60, out=tmp_path / "run", progress=False)
    diagnose(tmp_path / "run")
    fit("quadratic", "sgd(lr=0.1)", steps=60, out=tmp_path / "run", resume=True, progress=False)
    compare("quadratic", ["sgd(lr=0.1)"], 1, steps=60, out=tmp_path / "all", jobs=1, progress=False)
    diagnose(tmp_path / "all")
    compare("quadratic", ["sgd(lr=0.1)"], 2, steps=60, out=tmp_path / "all", jobs=1, progress=False)


# ------------------------------------------------------------------------------------------------------- changes


def test_changes_of_a_strategy() -> None:
    s = parse("muon(lr=0.02) | cosine | clip_norm(1)")
    assert (
        str(scaled(s, "lr", 0.1)) == "muon(lr=0.002, rest=adamw(lr=3e-05, betas=(0.9, 0.95))) | cosine() | clip_norm()"
    )
    assert with_argument(s, "no_such", lambda x: x * 2) is None
    assert str(replaced(s, "clip_norm", "clip_norm(3)")).endswith("clip_norm(max_norm=3.0)")
    assert replaced(s, "clip_norm", "clip_norm(1)") is None and replaced(s, "ema", "ema") is None
    assert str(without(s, "cosine", "clip_norm")) == str(parse("muon(lr=0.02)"))
    assert with_argument(parse("adam"), "beta2", lambda _: 2.0) is None, "a value out of range is no suggestion"
    assert str(warmed(parse("adam | cosine"))) == "adam() | warmup_cosine(warmup=0.1)"
    assert warmed(parse("adam | wsd")) is not None and cooled(parse("adam")) == parse("adam | cosine")


# --------------------------------------------------------------------------------------------------------- trial


def test_a_trial_says_whether_it_helped(tmp_path: Path) -> None:
    fit("quadratic", "sgd(lr=1e-4)", steps=60, out=tmp_path / "run", progress=False)
    (found,) = diagnose(tmp_path / "run")
    low = next(f for f in found.findings if f.rule == "lr_low")
    heard: list[str] = []
    (trial,) = trials(found.evidence, [low], said=heard.append)
    assert (
        trial.helped is True
        and trial.said.startswith("helped")
        and trial.steps == (60, 60)
        and trial.seeds == (0, 1, 2)
    )
    assert trial.difference is not None and trial.difference.high is not None and trial.difference.high < 0
    assert len(heard) == 2
    json.dumps(trial.record(), allow_nan=False)
    for before, after in zip(*trial.values, strict=True):
        assert before is not None and after is not None and after < before


def test_a_trial_that_makes_it_worse_or_diverges_says_so(tmp_path: Path) -> None:
    fit("quadratic", "sgd(lr=0.1)", steps=60, out=tmp_path / "run", progress=False)
    run = read(tmp_path / "run")

    def finding(text: str) -> Finding:
        return Finding("lr_low", "suspicion", "costly", "", test=Try("", text))

    (worse,) = trials(run, [finding("sgd(lr=1e-4)")])
    assert worse.helped is False and worse.said.startswith("made it worse")
    (lost,) = trials(run, [finding("sgd(lr=1e4)")], steps=150)
    assert lost.helped is False and "diverged on 3 of 3 seeds" in lost.said and lost.difference is None
    (same,) = trials(run, [finding("sgd(lr=0.1)")], seeds=2)
    assert same.helped is None and same.said.startswith("not separable")
    assert trials(run, [Finding("frozen", "fact", "costly", "", test=Try("look"))]) == []


def test_a_task_without_a_name_is_asked_for(made) -> None:
    run = read(made(loss=2.0))
    with pytest.raises(RecordError, match="task="):
        trials(run, examine(run).findings)


# -------------------------------------------------------------------------------------------- from a checkpoint


def checkpointed(folder: Path, strategy: str = "adam(lr=1e-2) | cosine", every: int = 40) -> Path:
    fit("digits-mlp", strategy, steps=120, out=folder, checkpoint_every=every, monitor="off", progress=False)
    return folder


def test_the_run_at_a_step_is_what_its_checkpoint_holds(tmp_path: Path) -> None:
    folder = checkpointed(tmp_path / "run", every=80)  # the one before the end
    there = newest(folder, 120, left=40)
    assert there is not None and there.step == 80
    made = again(load("digits-mlp"), "adam(lr=1e-2) | cosine", 0, 120, 80)
    assert all(torch.equal(value, made.model[name]) for name, value in there.model.items())
    for one, other in zip(there.optimizer["state"].values(), made.optimizer["state"].values(), strict=True):
        assert all(torch.equal(torch.as_tensor(one[key]), torch.as_tensor(other[key])) for key in one)
    assert newest(folder, 120, left=41) is None and newest(tmp_path, 120, left=0) is None


def test_a_run_that_goes_on_from_a_checkpoint_ends_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    """With the run's own order of data: steps 81 to 120 of the schedule, Adam's averages and its count of steps."""
    folder = checkpointed(tmp_path / "run", every=80)
    there, task = newest(folder, 120, left=40), load("digits-mlp")
    assert there is not None
    model = there.task(task).build(0)
    batches = task.batches(0)
    optimizer = there.strategy("adam(lr=1e-2) | cosine").optimizer(model, steps_per_epoch=batches.steps_per_epoch)
    seed_all(0)
    for i in range(80, 120):
        one_step(task, model, optimizer, batches.batch(i))
    end = read_checkpoint(folder / "checkpoint.pt")
    assert end["step"] == 120
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, end["model"][name], rtol=1e-5, atol=1e-6)


def test_trials_go_on_from_a_checkpoint_where_there_is_room(tmp_path: Path) -> None:
    folder = checkpointed(tmp_path / "run", every=80)
    run = read(folder)
    finding = Finding("lr_high", "fact", "costly", "", test=Try("", "adam(lr=1e-3) | cosine"))
    late = dataclasses.replace(finding, rule="no_warmup", test=Try("", "adam(lr=1e-3) | cosine", early=True))
    other = dataclasses.replace(finding, rule="batchnorm", test=Try("", "adam(lr=1e-2) | cosine | ema(decay=0.9)"))
    heard: list[str] = []
    done = trials(run, [finding, late, other], folder=folder, steps=40, seeds=2, said=heard.append)
    assert [(t.rule, t.begun, t.steps) for t in done] == [
        ("lr_high", 80, (40, 40)),
        ("no_warmup", 0, (40, 40)),
        ("batchnorm", 0, (40, 40)),
    ]
    assert "from step 80" in done[0].said and "from step" not in done[1].said
    assert len(heard) == 5, "both baselines once, and three others"
    begun, fresh = done[0].values[0], done[1].values[0]
    assert all(a is not None and b is not None and a < b for a, b in zip(begun, fresh, strict=True))
    (short,) = trials(run, [finding], folder=folder, seeds=2)
    assert short.begun == 0, "a trial of 120 steps has no room behind step 80"


def test_a_trial_begins_where_it_is_told_to(tmp_path: Path) -> None:
    folder = checkpointed(tmp_path / "run", every=80)
    run = read(folder)
    finding = Finding("lr_high", "fact", "costly", "", test=Try("", "adam(lr=1e-3) | cosine"))
    heard: list[str] = []
    (made,) = trials(run, [finding], folder=folder, begin=100, seeds=2, said=heard.append)
    assert made.begun == 100 and made.steps == (20, 20) and heard[0] == "100 steps of the run again"
    (there,) = trials(run, [finding], folder=folder, begin=80, steps=20, seeds=2, said=heard.append)
    assert there.begun == 80 and not any("80 steps of the run again" in words for words in heard)
    (start,) = trials(run, [finding], folder=folder, begin=0, steps=20, seeds=2)
    assert start.begun == 0
    for wrong in (120, 500):
        with pytest.raises(RecordError, match="from 0 to 119"):
            trials(run, [finding], folder=folder, begin=wrong)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    folder = checkpointed(tmp_path / "run", every=40)
    (folder / "checkpoint.previous.pt").write_bytes(b"torn")
    assert newest(folder, 120, left=40) is None
