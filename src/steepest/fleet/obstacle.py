"""What no stack can train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from steepest.core.wrapper import Wrapper
from steepest.fit.plan import Plan
from steepest.strategy.lbfgs import QuasiNewton
from steepest.transfer.timetable import Timetable


def obstacle(plans: Sequence[Plan]) -> str | None:
    """Why members cannot be stacked, as far as can be seen without trying."""
    for number, plan in enumerate(plans):
        around = getattr(plan.strategy, "role", lambda _: ())("wrapper")
        for piece in around:
            wrapper = piece.build()
            if wrapper.needs_closure:
                return f"member {number}: {piece.name} takes more than one gradient a step"
            if type(wrapper).ahead is not Wrapper.ahead:
                return f"member {number}: {piece.name} looks at batches that are yet to come"
        for piece in getattr(plan.strategy, "role", lambda _: ())("transfer"):
            if isinstance(piece.build(), Timetable):
                return f"member {number}: {piece.name} freezes parts of the model"
        for piece in getattr(plan.strategy, "role", lambda _: ())("multitask"):
            return f"member {number}: {piece.name} combines several losses"
        rule = getattr(plan.strategy, "rule", None)
        if rule is None:
            return f"member {number}: {plan.strategy!r} is not a strategy of pieces"
        if isinstance(rule.build(), QuasiNewton):
            return f"member {number}: {rule.name} takes more than one gradient a step"
    return None


def unfed(number: int, optimizer: Any) -> str | None:
    """Why a stack could not give an optimizer what it asks for."""
    groups = getattr(optimizer, "param_groups", ())
    for group in groups if hasattr(optimizer, "chain") else ():
        if optimizer.chain(group).curved:
            return f"member {number}: {group['method'] or 'its rule'} asks for estimates of the curvature"
    return None
