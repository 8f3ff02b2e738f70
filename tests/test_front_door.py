"""What stands at ``import steepest as st``, whatever was imported before, and what it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import steepest as st
from steepest.strategy import Strategy, table
from steepest.strategy import front as lifted


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_name_in_all_is_there() -> None:
    assert st.__all__ == sorted(st.__all__)
    for name in st.__all__:
        assert getattr(st, name) is not None


def test_the_public_names_are_these() -> None:
    """A new name at the front door is a decision: it is written here too."""
    rooms = {"gradients", "normalization", "optim", "report", "rules", "schedules", "tasks", "testing"}
    rooms |= {"federated", "graph", "multitask", "nowcasting", "transfer", "wrappers"}
    values = {"Federation", "Precision", "Strategy", "Task", "__version__", "bytes_per_parameter", "parse"}
    spaces = {"choice", "default_space", "log", "near_one", "space"}
    verbs = {"advise", "compare", "doctor", "fit", "landscape", "lr_find", "monitor", "recommend", "tune"}
    assert set(st.__all__) == values | rooms | spaces | verbs


def test_every_piece_and_recipe_is_at_the_door() -> None:
    assert set(dir(st)) == set(st.__all__) | set(table())
    for name, kind in table().items():
        made = getattr(st, name)
        assert inspect.signature(made).parameters.keys() == kind.signature.parameters.keys()


def test_what_type_checkers_see_is_what_is_there() -> None:
    """``strategy/front.py`` lists the pieces for editors and type checkers; the table is what runs."""
    listed = {name for name, value in vars(lifted).items() if callable(value) and not name.startswith("_")}
    assert listed == set(table())


def test_a_piece_is_a_strategy() -> None:
    assert isinstance(st.adamw(lr=1e-3), Strategy)
    assert st.adamw(lr=1e-3) | st.clip_norm(1.0) == st.parse("adamw(lr=1e-3) | clip_norm(1.0)")


def test_a_misspelt_name_offers_its_neighbour() -> None:
    with pytest.raises(AttributeError, match=r"steepest has no 'adamv'. Did you mean 'adamw'?"):
        st.adamv  # noqa: B018
    with pytest.raises(ImportError):
        exec("from steepest import adamv")
    assert not hasattr(st, "__wrapped__")


FIRST = {
    "the door": "import steepest as st",
    "a class of the room": "from steepest.compare import Board; from steepest.fit import Run; import steepest as st",
    "the room itself": "import steepest.compare, steepest.fit; import steepest as st",
    "the room as a name": "from steepest import compare, fit; import steepest as st",
    "under another name": "import steepest.compare as c, steepest.fit as f; import steepest as st",
}


@pytest.mark.parametrize("first", FIRST)
def test_the_verbs_are_rooms_that_can_be_called(first: str) -> None:
    program = f"""{FIRST[first]}
import inspect, sys
for verb in (st.compare, st.fit):
    assert callable(verb) and verb is sys.modules[verb.__name__]
    assert "seeds" in inspect.signature(st.compare).parameters
run = st.fit("quadratic", "sgd(lr=0.1)", steps=3, progress=False)
from steepest.fit import Run
from steepest.compare import Board
import steepest.fit
assert isinstance(run, Run) and steepest.fit is st.fit and steepest.compare.Board is Board
print(run.status)
"""
    assert run(program) == "finished"


def test_importing_the_door_imports_nothing_else() -> None:
    program = (
        "import sys; import steepest; print(sorted(m for m in sys.modules if m.startswith(('torch', 'steepest.'))))"
    )
    assert run(program) == "[]"


def test_pieces_cost_little_beyond_torch() -> None:
    """Parsing a strategy loads no plotting, no data library and no terminal library."""
    program = """
import sys, steepest as st
st.parse("adamw(lr=1e-3) | cosine | clip_norm(1)"); st.optim
print(sorted({m.partition(".")[0] for m in sys.modules} & {"plotly", "sklearn", "rich", "typer", "optuna", "jax"}))
"""
    assert run(program) == "[]"


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert st.__version__ == version("steepest")


@pytest.mark.slow
def test_a_type_checker_sees_strategies_and_finds_a_misspelt_name(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(
        """
import steepest as st
from steepest.compare import Board
from steepest.fit import Run

strategy: st.Strategy = st.adamw(lr=1e-3) | st.cosine() | st.transformer() | st.clip_norm(1.0)
board: Board = st.compare("quadratic", [strategy, st.parse("cnn")], seeds=2)
run: Run = st.fit("quadratic", strategy)
st.adamv()
"""
    )
    checker = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "user.py"]
    done = subprocess.run(checker, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'user.py:9: error: Module has no attribute "adamv"' in done.stdout
    assert "Found 1 error" in done.stdout
