"""minimize and ask/tell: several evaluations at a time, what goes wrong in them, and how they are stopped."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch

import steepest as st
from steepest.core.errors import SteepestError
from steepest.tune import AskTell, ObjectiveError, minimize
from steepest.tune.storage import storage

LINE = {"x": (0.0, 1.0)}
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@forks
def test_copies_of_the_process_evaluate_any_function_side_by_side(tmp_path):
    met = tmp_path / "met"

    def objective(point):
        with open(met, "a") as file:
            file.write(f"{os.getpid()}\n")
        end = time.monotonic() + 20
        while len(met.read_text().splitlines()) < 3 and time.monotonic() < end:  # three have begun before one ends
            time.sleep(0.01)
        return (point["x"] - 0.3) ** 2

    found = minimize(objective, LINE, budget=12, sampler="sobol", workers=3)
    pids = met.read_text().split()
    assert len(pids) == len(found.trials) == 12 and len(set(pids)) == 3 and str(os.getpid()) not in pids
    assert found.value == (found.point["x"] - 0.3) ** 2 < 0.01
    alone = minimize(lambda p: (p["x"] - 0.3) ** 2, LINE, budget=12, sampler="sobol")
    assert [t.point for t in alone.trials] == [t.point for t in found.trials] and alone.value == found.value


@forks
def test_one_that_learns_looks_elsewhere_while_points_are_being_evaluated():
    found = minimize(lambda p: (p["x"] - 0.7) ** 2, LINE, budget=13, sampler="gp", workers=3)
    assert len({t.point["x"] for t in found.trials}) == 13 and found.value < 1e-3


def test_an_executor_of_ones_own_gets_the_evaluations():
    inside, most, lock = 0, 0, threading.Lock()

    def objective(point):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with lock:
            inside -= 1
        return point["x"]

    with ThreadPoolExecutor(8) as pool:
        found = minimize(objective, LINE, budget=12, sampler="random", workers=3, executor=pool)
        assert pool.submit(len, "abc").result() == 3  # it is its owner's to shut down
    assert most == 3 and len(found.trials) == 12


@forks
def test_a_point_that_kills_its_process_is_tried_again_twice_and_given_up(tmp_path):
    tries = tmp_path / "tries"

    def objective(point):
        if point["x"] == 0.5:
            with open(tries, "a") as file:
                file.write("once\n")
            os._exit(1)
        return point["x"]

    found = minimize(objective, LINE, budget=6, sampler="random", first=[{"x": 0.5}], workers=2)
    assert tries.read_text().count("once") == 3 and len(found.trials) == 6
    assert found.failures == {0: "its process died 3 times"} and found.value == min(v for v in found.values if v)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=forks)])
def test_a_function_that_fails_everywhere_is_an_error_that_says_where(workers):
    def objective(point):
        return point["y"]

    with pytest.raises(ObjectiveError, match=r"failed at each of the 3 points.*: KeyError: 'y'") as caught:
        minimize(objective, LINE, budget=50, sampler="random", workers=workers)
    assert 'return point["y"]' in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("returned", "said"),
    [(None, "returned None; it should return a number"), ("0.5", "'0.5'"), ((1.0, 2.0), "a number"), (1j, "1j")],
)
def test_what_is_no_number_is_said(returned, said):
    with pytest.raises(ObjectiveError, match=said):
        minimize(lambda p: returned, LINE, sampler="random")


@pytest.mark.parametrize("number", [numpy.float32(0.5), numpy.array([0.5]), torch.tensor(0.5), [0.5], True])
def test_what_is_a_number_is_taken(number):
    assert minimize(lambda p: number, LINE, budget=1).value in (0.5, 1.0)


def test_failures_here_and_there_end_nothing_and_are_listed():
    def objective(point):
        if point["x"] > 0.6:
            raise RuntimeError("too far")
        return math.nan if point["x"] > 0.4 else point["x"]

    found = minimize(objective, LINE, budget=20, sampler="sobol")
    reasons = list(found.failures.values())
    assert len(found.trials) == 20 and found.value < 0.1
    assert set(reasons) == {"RuntimeError: too far", "the objective returned nan"} and len(reasons) >= 10
    assert f"of 20 trials; {len(reasons)} of no use" in str(found) and "RuntimeError: too far" in str(found)
    assert str(minimize(lambda p: math.nan, LINE, budget=2)).startswith("nothing found, of 2 trials; 2 of no use")


@pytest.fixture
def heard():
    """Ctrl-C as at a terminal, whatever this process was started with."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=forks)])
def test_ctrl_c_returns_the_best_so_far_and_the_same_call_goes_on(tmp_path, heard, workers):
    def after(trial):
        if trial.index == 4 and not resumed:
            signal.raise_signal(signal.SIGINT)

    call = {"budget": 12, "sampler": "sobol", "workers": workers, "storage": tmp_path / "s.journal", "on_trial": after}
    resumed = False
    found = minimize(lambda p: p["x"], LINE, **call)
    assert found.stopped and 5 <= len(found.trials) <= 4 + workers and found.value == min(found.values)
    assert "stopped" in str(found)
    resumed = True
    more = minimize(lambda p: p["x"], LINE, **call)
    assert not more.stopped and len(more.trials) == 12
    assert [t.point for t in more.trials][: len(found.trials)] == [t.point for t in found.trials]


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=forks)])
def test_a_second_ctrl_c_does_not_wait_and_loses_nothing(tmp_path, heard, workers):
    calls, main = tmp_path / "calls", os.getpid()

    def objective(point):
        with open(calls, "a") as file:
            file.write("x")
        if hangs and calls.stat().st_size > 4:
            for _ in range(2):
                os.kill(main, signal.SIGINT)
                time.sleep(0.1)
            time.sleep(60)
        return point["x"]

    where, hangs, begin = tmp_path / "s.journal", True, time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        minimize(objective, LINE, budget=10, sampler="sobol", workers=workers, storage=where)
    assert time.monotonic() - begin < 30
    hangs = False
    found = minimize(objective, LINE, budget=10, sampler="sobol", workers=workers, storage=where)
    assert len(found.trials) == 10 and not found.failures
    legs = storage(where)("minimize", st.tune.Box.of(LINE), (1,), {}).legs()
    assert sum(leg.status == "finished" for leg in legs) == 10 and max(leg.attempt for leg in legs) == 0


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2"])
def test_a_number_of_workers_that_makes_no_sense(bad):
    with pytest.raises(SteepestError, match="workers"):
        minimize(lambda p: 0.0, LINE, workers=bad)


def test_ask_and_tell_in_any_order():
    search = AskTell(LINE, sampler="sobol")
    legs = [search.ask() for _ in range(4)]
    assert len({leg.point["x"] for leg in legs}) == 4
    for leg in reversed(legs[1:]):
        search.tell(leg, leg.point["x"])
    search.tell(legs[0].number, math.nan)
    known = search.minimum
    assert known.value == min(leg.point["x"] for leg in legs[1:]) and list(known.failures) == [0]
    search.tell(search.ask(), ValueError("broken"))
    assert search.minimum.failures[4] == "ValueError: broken"
    with pytest.raises(SteepestError, match=r"point 0 is not out.*Out are: none"):
        search.tell(legs[0], 1.0)
    leg = search.ask()
    with pytest.raises(TypeError, match="'far'"):
        search.tell(leg, "far")
    search.tell(leg, 1.0)


def test_ask_and_tell_go_on_where_they_are_stored_and_agree_with_minimize(tmp_path):
    where = tmp_path / "s.journal"
    for _ in range(3):
        search = AskTell(LINE, sampler="sobol", storage=where)
        leg = search.ask()
        search.tell(leg, leg.point["x"])
    whole = minimize(lambda p: p["x"], LINE, budget=3, sampler="sobol")
    assert [t.point for t in search.minimum.trials] == [t.point for t in whole.trials]
    two = AskTell(LINE, objectives=2)
    two.tell(two.ask(), numpy.array([1.0, 2.0]))
    assert len(two.minimum.front) == 1
