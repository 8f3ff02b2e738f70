"""The rooms keep their layers, and the contracts that say so do find a breach."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")
ROOT = Path(__file__).resolve().parents[1]


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, 'src'); {program}"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_layers_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


BREACHES = {
    "core/breach.py": "from steepest.rules import Lion",
    "rules/breach.py": "from steepest.gradients import clip_norm",
    "tasks/breach.py": "from steepest.optim import Lion",
    "report/breach.py": "from steepest.tasks import names",
    "strategy/breach.py": "import steepest",
    "fit/breach.py": "import plotly.graph_objects",
    "compare/breach.py": "def f():\n    import sklearn.datasets",
    "report/breach2.py": "import typer",
    "schedules/breach.py": "from rich.table import Table",
    "compare/breach2.py": "import optuna",
    "testing/breach.py": "import optax",
}


@pytest.mark.parametrize("place", BREACHES)
def test_a_breach_is_found(place: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "src/steepest" / place).write_text(BREACHES[place] + "\n")
    done = lint(tmp_path)
    assert done.returncode != 0
    assert place.removesuffix(".py").replace("/", ".") in done.stdout


def test_a_room_without_a_layer_is_found(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "src/steepest/cellar").mkdir()
    (tmp_path / "src/steepest/cellar/__init__.py").write_text("")
    done = lint(tmp_path)
    assert done.returncode != 0 and "cellar" in done.stdout + done.stderr
