"""The rule contract over every rule that the rooms of pieces define."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import steepest.gradients
import steepest.rules
from steepest.core.piece import classes
from steepest.core.rule import Rule
from steepest.testing import RULE_CHECKS, rule_variants

torch.set_num_threads(1)

RULES = [
    rule
    for room in (steepest.rules, steepest.gradients)
    for cls in classes(room, Rule).values()
    for rule in rule_variants(cls)
]


def test_the_walk_finds_rules() -> None:
    assert {"Adam", "Lion", "HeavyBall", "LearningRate", "WeightDecay"} <= {type(r).__name__ for r in RULES}


@pytest.mark.parametrize("check", RULE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_rule(rule: Rule, check: Callable[[Rule], None]) -> None:
    check(rule)
