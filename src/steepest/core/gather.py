"""Who steps: the parameters of a group that have a gradient, in teams that step alike."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steepest.core.chain import Chain
from steepest.core.entry import Bucket, Entry, owner
from steepest.core.layout import Layout

if TYPE_CHECKING:
    from steepest.core.optimizer import Optimizer

GRAD, DTYPE, LAYOUT, SHAPE = map(attrgetter, ("grad", "dtype", "layout", "shape"))


class Team:
    """Entries of one group in one bucket with the same step count, and the same memory where it must be the same."""

    def __init__(self, bucket: Bucket, entries: Sequence[Entry]) -> None:
        self.bucket = bucket
        self.entries = list(entries)
        self.params = [entry.param for entry in entries]
        self.slots = [entry.slot for entry in entries]
        self.states = [entry.state for entry in entries]
        for row, slot in enumerate(self.slots):
            slot.row = row


class Roll:
    """The teams of a group as the last step had them, and how to see that they are still the same.

    All that a step looks at in each parameter, gradient and state is looked at here for all of them together, by
    functions that loop in C; whatever has changed, the group is gathered anew.
    """

    def __init__(self, opt: Optimizer, params: Sequence[Tensor], plan: Layout, teams: Sequence[Team]) -> None:
        entries = [entry for team in teams for entry in team.entries]
        self.teams = list(teams)
        self.plan = plan
        self.params = list(params)
        self.values = list(opt.state.values())
        self.active = [entry.param for entry in entries]
        active = set(map(id, self.active))
        self.idle = [p for p in params if id(p) not in active]
        self.slots = [entry.slot for entry in entries]
        self.dtypes = [entry.dtypes[0] for entry in entries]
        self.shapes = [entry.shape for entry in entries]
        self.grad_dtypes = [entry.dtypes[1] for entry in entries]
        named = [(entry.state, *row) for entry in entries for row in entry.named]
        self.named = [row[:3] for row in named]
        self.tensors = [*self.active, *(row[2] for row in named)]
        self.addresses: list[int] = [*(entry.address for entry in entries), *(row[3] for row in named)]

    @staticmethod
    def suits(plan: Layout, teams: Sequence[Team]) -> bool:
        """Whether nothing but what :meth:`holds` compares decides how these are gathered."""
        return not plan.alike and all(e.contiguous and e.slot.p is e.param for team in teams for e in team.entries)

    def holds(self, opt: Optimizer, params: Sequence[Tensor], plan: Layout) -> bool:
        """Whether the teams are still these; their slots then have this step's gradients."""
        states = opt.state.values()
        if (
            plan is not self.plan
            or len(params) != len(self.params)
            or len(states) != len(self.values)
            or not all(map(is_, params, self.params))
            or not all(map(is_, states, self.values))
            or any(p.grad is not None for p in self.idle)
        ):
            return False
        grads = list(map(GRAD, self.active))
        try:
            same = (
                list(map(DTYPE, grads)) == self.grad_dtypes
                and all(layout is torch.strided for layout in map(LAYOUT, grads))
                and all(map(Tensor.is_contiguous, grads))
                and not any(map(Tensor.is_neg, grads))
                and list(map(DTYPE, self.active)) == self.dtypes
                and list(map(SHAPE, self.active)) == self.shapes
                and all(map(Tensor.is_contiguous, self.active))
                and all(state.get(name) is t for state, name, t in self.named)
                and list(map(Tensor.data_ptr, self.tensors)) == self.addresses
            )
        except AttributeError:  # a gradient is missing: None has no dtype
            return False
        if not same or not all(map(_in_step, self.teams)):
            return False
        for slot, g in zip(self.slots, grads, strict=True):
            slot.g = g
        return True


def _in_step(team: Team) -> bool:
    steps = [state["step"] for state in team.states]
    return steps.count(steps[0]) == len(steps)


def gather(opt: Optimizer, index: int, chain: Chain, plan: Layout) -> list[Team]:
    """The teams of a group, with this step's gradients in their slots."""
    params = opt.param_groups[index]["params"]
    roll = opt._rolls.get(index)
    if roll is not None and roll.holds(opt, params, plan):
        return roll.teams
    found: dict[Any, list[Entry]] = {}
    known = opt._entries
    strided = torch.strided
    for p in params:
        g = p.grad
        if g is None:
            continue
        if g.layout is not strided:
            raise RuntimeError(
                f"{type(opt).__name__} does not support sparse gradients; {owner(opt, p)!r} has one. "
                "Use nn.Embedding(..., sparse=False), or give that parameter to torch.optim.SparseAdam."
            )
        entry = known.get(id(p))
        if entry is None or not entry.current(opt, p, g, plan):
            entry = known[id(p)] = Entry(opt, p, g, chain, plan)
        entry.take(g)
        state = entry.state
        key = (entry.bucket, state["step"], *[state[name] for name in plan.alike])
        if key in found:
            found[key].append(entry)
        else:
            found[key] = [entry]
    teams = [Team(key[0], entries) for key, entries in found.items()]
    opt._rolls.pop(index, None)
    if Roll.suits(plan, teams):
        opt._rolls[index] = Roll(opt, params, plan, teams)
    return teams
