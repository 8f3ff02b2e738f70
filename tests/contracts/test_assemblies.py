"""Every finished rule says in its docstring what lists and pages show: family, learning rates, when and when not."""

from __future__ import annotations

from typing import Any

import pytest

import steepest.gradients
import steepest.rules
import steepest.schedules
import steepest.strategy
import steepest.wrappers
from steepest.core.about import about
from steepest.core.chain import Chain
from steepest.core.errors import HyperparameterError
from steepest.core.piece import Kind, kinds, piece
from steepest.rules.families import FAMILIES
from steepest.testing import check_assembly

KINDS = [kind for kind in kinds(steepest.rules).values() if kind.role == "rule"]

GOOD = """Gradient descent.

Family: gradient descent
Usual lr: 1e-3 to 1
Use when: the model is convex.
Not when: gradients are heavy-tailed,
or rare.
Source: Cauchy 1847.
"""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_assembly_says_what_it_is_for(kind: Kind[..., Any]) -> None:
    check_assembly(kind)


def test_every_family_has_a_rule_or_waits_for_one() -> None:
    assert {about(kind).family for kind in KINDS} <= set(FAMILIES)
    assert all(line and not line.endswith(".") for line in FAMILIES.values())


def made(doc: str) -> Kind[..., Any]:
    def descent(lr: float = 0.1) -> Chain:
        return Chain(())

    descent.__doc__ = doc
    return piece("rule")(descent)


def test_a_complete_docstring_passes() -> None:
    check_assembly(made(GOOD))
    found = about(made(GOOD))
    assert found.usual_lr == (1e-3, 1.0)
    assert found.fields["Not when"] == "gradients are heavy-tailed, or rare."


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("Family: gradient descent", "Family: magic", r"'Family: ' with one of .*adaptive.*got 'magic'"),
        ("Family: gradient descent\n", "", "'Family: '"),
        ("1e-3 to 1", "about 0.1", "'Usual lr: ' with 'LOW to HIGH'"),
        ("1e-3 to 1", "1 to 1e-3", "goes from 1 to 0.001"),
        ("1e-3 to 1", "1e-6 to 1e-4", "ten times outside"),
        ("Use when: the model is convex.\n", "", "'Use when: '"),
        ("or rare.", "or rare", "'Not when: ' with a plain sentence"),
        ("Source: Cauchy 1847.", "", "'Source: '"),
        ("Gradient descent.", "Gradient descent", "must begin with a sentence"),
    ],
)
def test_an_incomplete_one_does_not(was: str, becomes: str, message: str) -> None:
    assert was in GOOD
    with pytest.raises(AssertionError, match=message):
        check_assembly(made(GOOD.replace(was, becomes)))


ROOMS = (steepest.rules, steepest.gradients, steepest.wrappers, steepest.schedules, steepest.strategy)
COUNTS = [
    (kind, name)
    for kind in kinds(*ROOMS).values()
    for name, parameter in kind.signature.parameters.items()
    if "int" in str(parameter.annotation).replace("|", " ").split() and kind.role != "recipe"
]


@pytest.mark.parametrize(("kind", "name"), COUNTS, ids=lambda x: x if isinstance(x, str) else x.name)
def test_what_counts_is_a_whole_number(kind: Kind[..., Any], name: str) -> None:
    value = kind.signature.parameters[name].default or 0
    with pytest.raises(HyperparameterError, match=name):
        kind(**{name: value + 2.5})
