"""st.tune: budgets are totals, arms are equal, fresh seeds decide, and whatever is stopped goes on."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

import steepest as st
from steepest.compare.budget import BudgetError
from steepest.compare.plan import ComparisonError
from steepest.core.errors import RecordError, UnknownName
from steepest.tune.leg import ENDED
from steepest.tune.race import Race, chosen
from steepest.tune.run import TUNE, resumed, tune
from steepest.tune.search import Search
from steepest.tune.share import divided
from steepest.tune.storage import storage
from steepest.tune.store import Memory

SPACES = ["sgd(lr=log(1e-3, 10.0), momentum=(0.0, 0.9))", "adam(lr=log(1e-4, 1.0))"]


def line(steps=16):
    x = torch.linspace(-1, 1, 64)[:, None]
    return st.Task(
        "line",
        lambda: torch.nn.Linear(1, 1),
        lambda out, batch: (out - batch[1]).square().mean(),
        train=(x[::2], 3 * x[::2]),
        validation=(x[1::2], 3 * x[1::2]),
        test=(x[:4], 3 * x[:4]),
        batch_size=8,
        steps=steps,
    )


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned") / "study"
    return tune(line(), SPACES, budget=30, sampler="sobol", out=folder, progress=False, jobs=2)


def test_every_arm_spends_the_same_and_all_of_it_is_counted(tuned):
    study = tuned.study
    spent = [search.spent() for search in study.searches.values()]
    assert spent[0] == spent[1] == study.share.explore + study.share.race
    runs = [*Path(tuned.folder).glob("trials/*/*/*/result.json"), *Path(tuned.folder).glob("runs/*/*/*/result.json")]
    assert len(runs) == 30 == sum(spent) + 4 * study.share.finals


def test_the_first_trial_is_what_was_given(tuned):
    firsts = [t for t in tuned.trials if t["number"] == 0]
    assert [st.parse(t["strategy"]) for t in firsts] == [st.sgd(momentum=0.0), st.adam()]


def test_the_race_repeats_the_best_on_the_same_seeds(tuned):
    for search in tuned.study.searches.values():
        trials = search.trials()
        ranked = sorted((t for t in trials if t.value is not None), key=lambda t: t.value)
        again = [t for t in trials if len(t.repeats()) > 1]
        assert again and again == sorted(ranked[: len(again)], key=lambda t: t.number)


def test_the_final_is_on_seeds_that_nothing_was_chosen_by_and_reads_the_test_split_once(tuned):
    seeds = {json.loads(p.read_text())["seed"] for p in Path(tuned.folder).glob("trials/*/*/*/run.json")}
    assert min(seeds) >= 1_000_000
    assert sorted({j["seed"] for j in map(_run, Path(tuned.folder).glob("runs/*/*/*/run.json"))}) == [0, 1, 2]
    results = [json.loads(p.read_text()) for p in Path(tuned.folder).glob("trials/*/*/*/result.json")]
    assert all(r["test"] is None for r in results)
    finals = [json.loads(p.read_text()) for p in Path(tuned.folder).glob("runs/*/*/*/result.json")]
    assert all(r["test"] is not None for r in finals)


def _run(path):
    return json.loads(path.read_text())


def test_the_answer_says_what_to_take_and_how_much_was_luck(tuned):
    assert st.parse(tuned.strategy).rule.name in ("sgd", "adam")
    assert tuned.verdict.startswith(f"Take {tuned.strategy}")
    assert "fresh seeds" in tuned.verdict
    space = next(s for s in SPACES if s.startswith(st.parse(tuned.strategy).rule.name))
    assert tuned.best is not None and st.space(space).at(tuned.best) == st.parse(tuned.strategy)
    assert tuned.table(show=False).startswith(tuned.verdict)
    record = json.loads((Path(tuned.folder) / TUNE).read_text())
    assert record["answer"]["strategy"] == tuned.strategy


def test_the_report_is_made_from_the_folder(tuned, tmp_path):
    from steepest.report import render

    render(Path(tuned.folder), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "sgd, tuned" in page and "Budget and choice on line" in page


def test_a_study_without_a_final_has_a_report_too(tmp_path):
    found = st.tune(
        line(8), SPACES[1], budget=4, final=False, sampler="random", out=tmp_path / "s", progress=False, jobs=1
    )
    page = found.report(tmp_path / "page.html").read_text()
    assert found.board is None and "there was no final" in page and found.strategy in page
    assert 'id="arm-1"' in page and "Budget and choice on line" in page


def test_what_mattered_is_found_by_tune_at_its_end(tuned):
    arms = json.loads((Path(tuned.folder) / "trials.json").read_text())["arms"]
    assert [arm["label"] for arm in arms] == [arm.label for arm in tuned.study.arms]
    for arm, search in zip(arms, tuned.study.searches.values(), strict=True):
        legs = [leg for leg in search.store.legs() if leg.status != "withdrawn"]
        assert [(e["number"], e["status"], e["charge"]) for e in arm["legs"]] == [
            (x.number, x.status, x.charge) for x in legs
        ]
        assert all((Path(tuned.folder) / e["folder"] / "result.json").exists() for e in arm["legs"])
        tried = sum(leg.seed == 0 for leg in legs)
        assert (arm["importance"] is None) == (tried < 8)
        if arm["importance"]:
            assert set(arm["importance"]) == set(arm["dimensions"])
            assert sum(arm["importance"].values()) == pytest.approx(1.0)


def test_the_same_call_does_nothing_more_and_a_larger_budget_goes_on(tuned):
    before = _stamps(tuned.folder)
    again = tune(line(), SPACES, budget=30, sampler="sobol", out=tuned.folder, progress=False)
    assert _stamps(tuned.folder) == before and again.strategy == tuned.strategy
    count = len(again.trials)
    more = tune(line(), SPACES, budget=50, sampler="sobol", out=tuned.folder, progress=False)
    after = _stamps(tuned.folder)
    kept = [p for p in before if "trials" in str(p)]
    assert all(after[p] == before[p] for p in kept)
    assert len(more.trials) > count


def _stamps(folder):
    return {p: p.stat().st_mtime_ns for p in Path(folder).glob("*/*/*/*/result.json")}


def test_another_study_in_the_same_folder_is_refused(tuned):
    with pytest.raises(RecordError, match="seed"):
        tune(line(), SPACES, budget=40, sampler="sobol", out=tuned.folder, seed=1, progress=False)
    with pytest.raises(RecordError, match="steps"):
        tune(line(17), SPACES, budget=40, sampler="sobol", out=tuned.folder, progress=False)


def test_a_task_without_a_name_cannot_be_resumed_from_the_folder_alone(tuned):
    with pytest.raises(RecordError, match="made in a script"):
        resumed(tuned.folder)
    assert resumed(tuned.folder, task=line(), progress=False).strategy


@pytest.mark.parametrize(("arguments", "message"), [
    ({"budget": 1}, "too small"), ({"budget": "soon"}, "a budget is"), ({"budget": 1.5}, "a budget is"),
    ({"jobs": 0}, "at least 1"), ({"sampler": "gpp"}, "gp"), ({"strategies": "adamv"}, "adamw"),
    ({"strategies": []}, "no strategy"),
    ({"storage": "x.txt"}, "no storage"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_runs(arguments, message, tmp_path):
    given = {"strategies": "sgd", "budget": 20, **arguments}
    with pytest.raises((BudgetError, ComparisonError, UnknownName, ValueError), match=message):
        tune(line(), out=tmp_path / "x", progress=False, **given)
    assert not (tmp_path / "x" / TUNE).exists()


def test_a_strategy_that_diverges_everywhere_is_said_to():
    found = tune(line(), "sgd(lr=log(1e20, 1e30))", budget=6, sampler="random", progress=False, final=False)
    assert found.strategy is None and "nothing came to anything" in found.verdict and "4 of no use" in found.verdict


def test_time_is_never_exceeded(tmp_path):
    begun = time.monotonic()
    found = tune(line(3000), SPACES, budget="8s", out=tmp_path / "t", progress=False)
    assert time.monotonic() - begun < 9
    assert found.trials and found.verdict


def test_shares_add_up_to_the_budget():
    for amount in range(6, 90):
        for gradients in ([1.0], [1.0, 1.0], [2.0], [1.0, 2.0]):
            try:
                share = divided(st.compare.budget.Budget(float(amount), "runs"), gradients)
            except BudgetError:
                continue
            used = len(gradients) * (share.explore + share.race) + 2 * sum(gradients) * share.finals
            assert used <= amount and share.finals >= 1 and share.explore >= max(gradients)


def test_a_race_chooses_the_better_mean_and_not_the_luckiest_trial():
    """One point that its first seed flatters, and one that is really better than the others."""

    def value(point, seed):
        flattered = -1.0 if seed == 0 and point["x"] == 0.0 else 0.0
        return (0.0 if point["x"] == 0.25 else 0.5) + flattered

    from steepest.tune.box import Box
    from steepest.tune.objective import BlackBox
    from steepest.tune.samplers.quasi import Random

    points = [{"x": i / 4} for i in range(5)]
    search = Search(Memory(), Box.of({"x": (0.0, 1.0)}), Random(), Race(explore=12, race=12), 24, first=points)
    objective = BlackBox(lambda p, seed: value(p, seed))
    while (leg := search.take()) is not None:
        search.tell(leg, objective(leg))
    winner, mean, seeds = chosen(search.trials())
    assert winner.point == {"x": 0.25} and len(seeds) > 2 and mean == 0.0
    assert min(t.value for t in search.trials()) == -0.5
    assert search.spent() == 24


# ------------------------------------------------------------------------------------------------------------- crashes


def legs_of(folder, task="line", space=SPACES[0]):
    from steepest.tune.box import Box

    return storage(Path(folder) / "study.journal")(f"{task}: sgd, tuned", Box.of(st.space(space)), (1,), {}).legs()


def begun(folder):
    """How many trials have come to something."""
    found = [json.loads(p.read_text()) for p in Path(folder).glob("trials/*/*/*/result.json")]
    return sum(result["status"] == "finished" for result in found)


def once(legs, budget):
    """Every run ended once, and all of the search was run."""
    share = divided(st.compare.budget.Budget(float(budget), "runs"), [1.0])
    ended = Counter((leg.trial, leg.seed) for leg in legs if leg.status in ENDED)
    assert max(ended.values()) == 1 and not any(leg.status == "open" for leg in legs)
    assert sum(ended.values()) == share.explore + share.race


def leader(folder, budget, said, steps=400):
    """Another process that tunes."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        tune(line(steps), SPACES[0], budget=budget, sampler="random", out=folder, progress=False, jobs=2)
        code = 0
    except KeyboardInterrupt as stop:
        said.write_text(str(stop))
        code = 130
    finally:
        os._exit(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_ctrl_c_and_a_kill_keep_what_is_done_and_the_same_call_ends_it(tmp_path):
    folder, said = tmp_path / "study", tmp_path / "said"
    for how, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        there, pid = begun(folder), leader(folder, 16, said)
        while begun(folder) < there + 2:
            time.sleep(0.02)
        os.kill(pid, how)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code
    assert said.read_text().startswith("best so far: loss")
    tune(line(400), SPACES[0], budget=16, sampler="random", out=folder, progress=False, jobs=2)
    legs = legs_of(folder)
    once(legs, 16)
    assert all(leg.attempt <= 1 for leg in legs)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_killed_leaders_and_helpers_lose_no_trial_and_repeat_none(tmp_path):
    """The command, a leader and a helper on one study, one of them killed at random, twenty times."""
    folder, dice = tmp_path / "study", random.Random(0)
    command = [sys.executable, "-m", "steepest.cli", "tune"]
    space = "sgd(lr=log(1e-3, 1))"
    first = [
        *command,
        "quadratic",
        "-s",
        space,
        "--steps",
        "400",
        "--budget",
        "40",
        "--jobs",
        "2",
        "--out",
        str(folder),
    ]
    commands = {"leader": first, "helper": [*command, "--resume", str(folder), "--worker", "--jobs", "2"]}
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": alone}
    running: dict[str, subprocess.Popen] = {"leader": subprocess.Popen(commands["leader"], **quiet)}
    while not (folder / "study.journal").exists():
        time.sleep(0.1)
    for _ in range(20):
        for name, words in commands.items():
            if name not in running or running[name].poll() is not None:
                running[name] = subprocess.Popen(words, **quiet)
        time.sleep(4 + 6 * dice.random())
        victim = dice.choice([*running])
        running[victim].kill()
        running.pop(victim).wait()
    for child in running.values():
        child.kill()
        child.wait()
    done = subprocess.run(first, capture_output=True, text=True, env=alone, check=False)
    assert done.returncode == 0, done.stderr
    once(legs_of(folder, "quadratic", space), 40)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_the_command_is_stopped_by_ctrl_c_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "study"
    command = [sys.executable, "-m", "steepest.cli", "tune"]
    words = ["quadratic", "-s", "sgd(lr=log(1e-3, 1))", "--steps", "400", "--budget", "12", "--out", str(folder)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True, env=alone, stdout=subprocess.PIPE)
    while begun(folder) < 3:
        time.sleep(0.05)
        assert child.poll() is None, child.stderr.read()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "best so far: loss" in said and f"steepest tune --resume {folder} --budget '12 runs'" in said
    done = subprocess.run([*command, "--resume", str(folder)], capture_output=True, text=True, env=alone, check=False)
    assert done.returncode == 0, done.stderr
    assert "to paste: sgd(" in done.stdout and f"report: {folder}/report.html" in done.stdout
    once(legs_of(folder, "quadratic", "sgd(lr=log(1e-3, 1))"), 12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_minimize_goes_on_where_the_objective_is_of_no_use(bad):
    found = st.tune.minimize(lambda p: bad if p["x"] > 0.5 else p["x"], {"x": (0.0, 1.0)}, budget=20, sampler="random")
    assert 0 <= found.value < 0.3 and len(found.trials) == 20
    assert sum(v is None for v in found.values) > 3
