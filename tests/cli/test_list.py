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
    keys = {"name", "arguments", "meaning", "source"}
    if what == "rules":
        keys |= {"family", "needs", "bytes", "averages", "lr", "usual_lr", "use_when", "not_when"}
    if what == "tasks":
        keys |= {"reason", "parameters", "megaflops", "seconds", "target", "suites"}
    assert all(set(entry) == keys for entry in found)


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


def test_rules_show_what_was_measured_and_what_their_docstrings_say(steepest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    found = {entry["name"]: entry for entry in json.loads(steepest("list", "rules", "--json").output)}
    assert (found["sgd"]["bytes"], found["adamw"]["bytes"]) == (0, 8)
    assert found["lion"]["family"] == "sign" and found["lion"]["usual_lr"] == [1e-5, 1e-3]
    assert found["adamw"]["lr"] == 1e-3 and found["adamw"]["needs"] == []
    own = [name for name, kind in table().items() if kind.function.__module__.startswith("steepest.rules")]
    assert all(found[name]["use_when"] and found[name]["not_when"] for name in own)
    line = next(x for x in steepest("list", "rules").output.splitlines() if x.startswith("adamw "))
    assert "Use when: the model is a transformer" in line and "0.001 (0.0001-0.01)" in line


@pytest.mark.parametrize(
    "words", [("rules", "low", "memory"), ("rules", "--search", "low memory"), ("-q", "LOW memory")]
)
def test_a_list_can_be_searched(steepest, words: tuple[str, ...]) -> None:
    found = json.loads(steepest("list", *words, "--json").output)
    rules = found if words[0] == "rules" else found["rules"]
    names = [entry["name"] for entry in rules]
    assert "lion" not in names or "low" in str(rules[names.index("lion")])
    assert names and all("low" in str(entry).lower() and "memory" in str(entry).lower() for entry in rules)
    assert len(names) < len(entries("rules"))


def test_a_search_that_finds_nothing_offers_a_neighbour(steepest) -> None:
    done = steepest("list", "rules", "adamv")
    assert done.exit_code == 2 and "Did you mean 'adam" in done.output
    assert "nothing in any list speaks of 'xyzzy'" in steepest("list", "-q", "xyzzy").output


def test_on_a_narrow_terminal_numbers_stand_below_each_other(steepest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = steepest("list", "rules", "lion").output.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("lion "))
    assert "lr 0.0001 (1e-05-0.001)" in lines[at] and lines[at + 1].startswith("sign ") and "4 bytes" in lines[at + 1]
    assert all(len(line) <= 100 for line in lines)
