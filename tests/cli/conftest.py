from __future__ import annotations

import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from steepest.cli.main import app, main

SRC = str(Path(__file__).resolve().parents[2] / "src")
Steepest = Callable[..., Result]


@pytest.fixture
def steepest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steepest:
    """Run the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command as a process of its own, in an empty folder; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    environment.update(PYTHONPATH=SRC, OMP_NUM_THREADS="1")

    def start(*words: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "steepest.cli", *map(str, words)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class Ended:
    """What a command that was run to its end left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., Ended]:
    """Run the command to its end, in an empty folder, in a copy of this process with streams of its own.

    It shows what ``shell`` does of prints and codes, without the three seconds in which a new process imports torch.
    """

    def run(*words: object) -> Ended:
        out, err = tmp_path.parent / f"{tmp_path.name}.out", tmp_path.parent / f"{tmp_path.name}.err"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _become([*map(str, words)], tmp_path, out, err)
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return Ended(code, out.read_text(), err.read_text())

    return run


def _become(words: list[str], folder: Path, *streams: Path) -> int:
    """What a new interpreter would be at ``python -m steepest.cli``, as far as the command can tell."""
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    os.chdir(folder)
    sys.argv, sys.path = ["steepest", *words], [str(folder), *sys.path]
    for name in ("COLUMNS", "FORCE_COLOR"):
        os.environ.pop(name, None)
    warnings.resetwarnings()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code
