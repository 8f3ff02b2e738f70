from collections.abc import Callable
from pathlib import Path
from typing import Any

from steepest.report.data import load
from steepest.report.html import render_child
from steepest.report.settings import settings


def test_settings_say_what_it_takes_to_do_it_again(rough: Path) -> None:
    made = render_child(settings(load(rough)))
    for part in ("sgd(lr=0.1, momentum=0.9) | cosine()", "batch size 64", "0, 1, 2, 3, 4", "torch 2.13.0", "0123abc"):
        assert part in made
    assert "A processor, 2 cores, Linux 6.1" in made
    assert '<code id="command">steepest compare digits-cnn char-transformer --seeds 5 --out runs/first</code>' in made


def test_what_was_not_recorded_is_left_out(single: Callable[..., Any], tmp_path: Path) -> None:
    single(tmp_path, "t", "a", "a()", 0)
    made = render_child(settings(load(tmp_path)))
    assert "Versions" not in made and "Machine" not in made and "command" not in made and "Strategies" in made
