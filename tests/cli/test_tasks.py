from __future__ import annotations

import json
from pathlib import Path


def test_a_table_a_page_and_what_to_run_next(steepest, tmp_path: Path) -> None:
    words = ["tasks", "digits-multitask", "--seeds", "2", "--looks", "2", "--trials", "0", "--steps", "6"]
    done = steepest(*words, "--out", "found")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "found/tasks.json").read_text())
    assert record["names"] == ["class", "parity", "reconstruction"] and record["steps"] == 6
    for part in ("affinity", "noise", "reconstruction", "Nothing was tried", "page: found/tasks.html"):
        assert part in done.output, part
    assert "next: steepest train digits-multitask -s 'adamw() | cosine()" in done.output
    assert (tmp_path / "found/tasks.html").exists()


def test_a_task_with_one_loss_is_refused(steepest) -> None:
    done = steepest("tasks", "digits-mlp")
    assert done.exit_code == 2 and "has one loss" in done.output
