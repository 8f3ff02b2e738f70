from __future__ import annotations

import json

import pytest

from steepest import tasks
from steepest.cli.catalog import CATALOG, entries
from steepest.strategy import table

WANTED = ("rules", "schedules", "gradients", "recipes", "tasks")


@pytest.mark.parametrize("what", WANTED)
def test_json_holds_every_entry(steepest, what: str) -> None:
    done = steepest("list", what, "--json")
    assert done.exit_code == 0
    found = json.loads(done.output)
    role = {"tasks": None}.get(what, what.rstrip("s"))
    expected = tasks.names() if role is None else [n for n, kind in table().items() if kind.role == role]
    assert [entry["name"] for entry in found] == expected
    assert all(set(entry) == {"name", "arguments", "meaning", "source"} for entry in found)


def test_without_a_name_all_lists_are_shown(steepest) -> None:
    assert set(json.loads(steepest("list", "--json").output)) == set(CATALOG) >= set(WANTED)
    output = steepest("list").output
    assert all(name in output for name in table())


def test_an_unknown_list_is_refused(steepest) -> None:
    done = steepest("list", "recipez")
    assert done.exit_code == 2 and "Did you mean 'recipes'?" in done.output


@pytest.mark.parametrize("what", WANTED)
def test_every_entry_says_what_it_is_in_one_line(what: str) -> None:
    for entry in entries(what):
        assert entry.meaning, f"{entry.name} has no docstring"
        assert "\n" not in entry.meaning + entry.source
        assert "``" not in entry.meaning + entry.source and ":math:" not in entry.meaning + entry.source


def test_every_rule_names_its_source() -> None:
    own = {name for name, kind in table().items() if kind.function.__module__.startswith("steepest.rules")}
    assert [entry.name for entry in entries("rules") if entry.name in own and not entry.source] == []


def test_arguments_are_written_as_in_the_text_form() -> None:
    (lion,) = [entry for entry in entries("rules") if entry.name == "lion"]
    assert lion.arguments == "lr=0.0001, betas=(0.9, 0.99), weight_decay=0.0"
