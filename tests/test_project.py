"""The files around the code agree with each other."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def test_all_is_every_extra_of_a_room() -> None:
    (everything,) = map(Requirement, EXTRAS["all"])
    assert everything.extras == set(EXTRAS) - {"all", "test"}


def test_constraints_lie_within_what_is_declared() -> None:
    declared = [
        Requirement(text) for text in [*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]
    ]
    ranges = {requirement.name: requirement.specifier for requirement in declared}
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    assert len(pins) > 10
    for pin in pins:
        (version,) = [clause.version for clause in pin.specifier]
        assert pin.name not in ranges or version in ranges[pin.name], f"{pin} is outside {ranges[pin.name]}"


def test_every_requirement_says_which_file_needs_it() -> None:
    base = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("]")[0]
    assert all("#" in line for line in base.strip().splitlines())


def test_the_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="steepest")
    assert callable(command.load())


def test_every_target_that_makes_no_file_is_phony_and_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert targets == phony == explained


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
