"""Every storage keeps legs the same way, whoever is killed when; and optuna's own tools read them."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import optuna
import pytest

from steepest.strategy.dimension import choice, log, near_one
from steepest.tune.box import Box, when
from steepest.tune.fidelity import Asha, Rungs
from steepest.tune.leg import ENDED, Leg
from steepest.tune.minimize import minimize
from steepest.tune.storage import StorageError, storage
from steepest.tune.storage.journal import mend
from steepest.tune.store import Memory

BOX = Box.of(
    {
        "lr": log(1e-4, 1.0),
        "beta": near_one(0.0, 0.99),
        "layers": (1, 4),
        "kind": choice("a", (1, 2), None),
        "more": when((0.0, 1.0), kind="a"),
    }
)
POINT = {"lr": 0.01, "beta": 0.9, "layers": 2, "kind": (1, 2)}
OTHER = {"lr": 1.0, "beta": 0.99, "layers": 4, "kind": "a", "more": 0.25}


def opened(where, box=BOX, name="study", signs=(1,)):
    return storage(where)(name, box, signs, {"metric": "loss"})


@pytest.mark.parametrize("file", ["s.journal", "s.db"])
def test_a_file_keeps_what_memory_keeps(tmp_path, file):
    stores = [Memory(), opened(tmp_path / file)]
    for store in stores:
        assert store.add(Leg(-1, -1, owner="h:1:a", until=5.0, charge=1.0, notes={"full": 10})) == 0
        store.place(0, POINT, {"generation": 1, "place": [0.5, 0.25]})
        assert store.renew(0, 9.0)
        assert store.close(0, "finished", values=(0.5,), reached=10, charge=1.0, seconds=0.25)
        assert not store.close(0, "lost") and not store.renew(0, 10.0)
        assert store.add(Leg(-1, 0, POINT, seed=1, attempt=1, steps=5, length=5, source=0, owner="h:2:b")) == 1
        assert store.close(1, "paused", values=(0.75,), reached=5)
        assert store.add(Leg(-1, -1)) == 2
        store.place(2, OTHER, {})
        assert store.close(2, "diverged", reached=3, message="at step 3", charge=0.3)
        assert store.add(Leg(-1, -1)) == 3
        assert store.close(3, "withdrawn", charge=0.0)
    assert stores[0].legs() == stores[1].legs() == opened(tmp_path / file).legs()


@pytest.mark.parametrize("file", ["s.journal", "s.db"])
def test_optuna_loads_the_study_with_all_that_is_in_it(tmp_path, file):
    """What optuna's dashboard and plots show: a trial for each leg, its parameters, values, and values on the way."""

    def objective(point, steps):
        if point["kind"] is None:
            raise ValueError("nothing")
        return math.nan if point["lr"] > 0.5 else abs(math.log10(point["lr"]) + 2) + 1 / steps

    minimize(objective, BOX, budget=8, sampler="sobol", full=40, scheduler=Asha(Rungs(40, eta=2, least=10)),
             first=[OTHER], storage=tmp_path / file, name="mine")  # fmt: skip
    legs = storage(tmp_path / file)("mine", BOX, (1,), {}).legs()
    if file == "s.db":
        where = f"sqlite:///{tmp_path}/{file}"
    else:
        where = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / file)))
    study = optuna.load_study(study_name="mine", storage=where)
    assert study.user_attrs["space"] == str(BOX) and len(study.trials) == len(legs) > 8
    states = {"finished": "COMPLETE", "paused": "PRUNED", "diverged": "FAIL", "failed": "FAIL"}
    assert set(states) == {leg.status for leg in legs}
    for trial, leg in zip(study.trials, legs, strict=True):
        shown = {"1 - beta" if n == "beta" else n: v for n, v in leg.point.items()} | {"kind": label(leg.point["kind"])}
        if "beta" in leg.point:
            shown["1 - beta"] = pytest.approx(1 - leg.point["beta"])
        assert trial.params == shown and trial.state.name == states[leg.status]
        assert trial.values == ([leg.values[0]] if leg.status == "finished" else None)
        assert trial.intermediate_values == ({leg.reached: leg.values[0]} if leg.values else {})
        assert trial.datetime_start is not None and trial.datetime_complete is not None
    finished = [leg for leg in legs if leg.status == "finished"]
    assert study.best_trial.number == min(finished, key=lambda leg: leg.values).number
    failed = next(leg for leg in legs if leg.status == "failed")
    assert study.trials[failed.number].user_attrs["end: failed"]["message"] == "ValueError: nothing"


def label(value):
    return value if value is None or isinstance(value, str) else repr(value)


def test_what_should_be_large_is_shown_as_it_was(tmp_path):
    store = opened(tmp_path / "s.journal", signs=(-1,))
    store.close(store.add(Leg(-1, -1)), "finished", values=(-0.9,))
    assert store.legs()[0].values == (-0.9,)
    (trial,) = store._storage.get_all_trials(0)
    assert trial.values == [0.9]


@pytest.mark.parametrize("torn", [b'{"op_code":4,"wor', b'{"op_code":4\n', b"\x00\xff\n", b"{", b"\n"])
def test_a_torn_journal_is_mended(tmp_path, torn):
    store = opened(tmp_path / "s.journal")
    store.add(Leg(-1, -1, POINT))
    legs = store.legs()
    with open(tmp_path / "s.journal", "ab") as file:
        file.write(torn)
    assert opened(tmp_path / "s.journal").legs() == legs
    assert all(json.loads(line) for line in (tmp_path / "s.journal").read_bytes().split(b"\n")[:-1])
    if not torn.endswith(b"\n"):
        with open(tmp_path / "s.journal", "ab") as file:
            file.write(torn)
        store.add(Leg(-1, 0, POINT, seed=1))  # one that had it open all the time
        assert len(opened(tmp_path / "s.journal").legs()) == 2


def test_every_cut_of_a_journal_can_be_mended(tmp_path):
    whole, path = b'{"a":1}\n{"b":[2,3]}\n{"c":"x"}\n', tmp_path / "j"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        mend(path)
        kept = path.read_bytes()
        assert whole.startswith(kept) and kept.count(b"\n") == whole[:cut].count(b"\n")


@pytest.mark.parametrize("bad", ["runs/tune.txt", "nothing://here"])
def test_a_storage_that_cannot_be_opened_is_refused_with_a_reason(bad):
    with pytest.raises(StorageError, match=bad.split(":")[0]):
        storage(bad)


def _child(path, budget, log, seed):
    """A process that works on a search until it is over; every evaluation leaves a line."""
    dice = random.Random(seed)

    def objective(point):
        time.sleep(0.02 * dice.random())
        with open(log, "a") as file:
            file.write(f"{point['x']!r}\n")
        return point["x"]

    try:
        minimize(objective, {"x": (0.0, 1.0)}, budget=budget, sampler="random", storage=path)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


def _killed_at_random(tmp_path, kills, workers, budget, seed=0, where=None):
    dice, path = random.Random(seed), where or tmp_path / "s.journal"
    children: list[int] = []
    killed = 0
    end = time.monotonic() + 400
    while time.monotonic() < end:
        while len(children) < workers:
            pid = os.fork()
            if pid == 0:
                _child(path, budget, tmp_path / "log", dice.random())
            children.append(pid)
        time.sleep(0.4 * dice.random())
        if killed < kills:
            victim = children.pop(dice.randrange(len(children)))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            killed += 1
            if where is None and dice.random() < 0.3:  # as if it had been killed in the middle of a line
                with open(path, "ab") as file:
                    file.write(b'{"op_code":8,"worker_id":"half')
            continue
        break
    for pid in children:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    store = storage(path)("minimize", Box.of({"x": (0.0, 1.0)}), (1,), {})
    legs = store.legs()
    if isinstance(where, str):  # a server's connections are closed, or Python complains at its end
        store._storage.remove_session()
        store._storage._backend.engine.dispose()
    done = Counter(leg.trial for leg in legs if leg.status in ENDED)
    failed = sum(leg.status == "failed" for leg in legs)
    assert not any(leg.status == "open" for leg in legs)
    assert sum(done.values()) == budget and max(done.values()) == 1
    assert all(leg.values == (leg.point["x"],) for leg in legs if leg.status == "finished")
    assert len({leg.point["x"] for leg in legs if leg.status == "finished"}) == budget - failed
    return killed, failed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_processes_lose_nothing_and_repeat_nothing(tmp_path):
    _killed_at_random(tmp_path, kills=5, workers=2, budget=30)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_hundred_kills_of_four_workers(tmp_path):
    killed, _ = _killed_at_random(tmp_path, kills=100, workers=4, budget=400)
    assert killed == 100


# ---------------------------------------------------------------------------------------------------- a database server


@pytest.fixture
def postgres():
    """The address of a PostgreSQL server of our own; skipped where there is none to be started."""
    pytest.importorskip("psycopg", reason="needs psycopg, which talks to PostgreSQL")
    found = shutil.which("pg_ctl") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))), None)
    if found is None:
        pytest.skip("needs PostgreSQL (Debian: apt install postgresql)")
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses root
        if shutil.which("runuser") is None or subprocess.run(["id", "postgres"], capture_output=True).returncode:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    tools = Path(found).resolve().parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="pg"))
    home.chmod(0o777)
    data = home / "data"

    def call(*words):
        done = subprocess.run([*as_user, *map(str, words)], capture_output=True, text=True, cwd="/", check=False)
        assert done.returncode == 0, done.stderr

    call(tools / "initdb", "-D", data, "-A", "trust", "-U", "us")
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off"
    with open(home / "start", "wb") as log:  # the server keeps what it is started with open
        words = [
            *as_user,
            str(tools / "pg_ctl"),
            "-D",
            str(data),
            "-o",
            options,
            "-w",
            "-l",
            str(home / "log"),
            "start",
        ]
        assert subprocess.run(words, stdout=log, stderr=log, cwd="/", check=False).returncode == 0
    try:
        yield f"postgresql://us@127.0.0.1:{port}/postgres"
    finally:
        call(tools / "pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_four_workers_on_a_database_server_some_of_which_are_killed(tmp_path, postgres):
    _killed_at_random(tmp_path, kills=10, workers=4, budget=60, where=postgres)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_four_workers_on_sqlite_some_of_which_are_killed(tmp_path):
    _killed_at_random(tmp_path, kills=10, workers=4, budget=60, where=tmp_path / "s.db")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_many_processes_set_up_one_new_database(tmp_path):
    """All make the tables at once: whoever comes second is not refused."""
    children = []
    begin = time.time() + 0.5
    for _ in range(6):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                time.sleep(begin - time.time())
                storage(tmp_path / "s.db")("x", Box.of({"x": (0.0, 1.0)}), (1,), {}).legs()
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == 6 * [0]


def test_a_database_that_is_not_there_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waited"))
    with pytest.raises(StorageError, match="cannot be opened"):
        storage("postgresql://nobody@127.0.0.1:1/nothing")
