"""A team at one step: the scalars and the memory of each link, which are one for all or, by columns, one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steepest.core import columns
from steepest.core.chain import Chain
from steepest.core.gather import Team
from steepest.core.layout import Layout
from steepest.core.rule import Rule
from steepest.core.trace import flatten, rebuild


class Cohort:
    """Parameters of one group with the same step count; what a link finds by single tensors is a column.

    Args:
        group: What the group is called.
        method: What the rule is called.
        chain: The rule.
        plan: Its layout.
        team: The parameters.
        shared: The memory that links keep for all tensors.
    """

    def __init__(
        self, group: str, method: str, chain: Chain, plan: Layout, team: Team, shared: Mapping[int, Any]
    ) -> None:
        self.group = group
        self.method = method
        self.chain = chain
        self.plan = plan
        self.team = team
        self.n = len(team.slots)
        self.t = t = int(team.states[0]["step"]) + 1
        self.memory = list(plan.memory)
        self.apart = {i for i, _ in plan.apart}
        if plan.own:
            first = [team.states[0][name] for name in plan.numbers]
            own = rebuild(tuple(plan.memory[i] for i in plan.own), first)
            for i, past in zip(plan.own, own, strict=True):
                self.memory[i] = past
            for i, names in plan.apart:
                each = [columns.column([state[name] for state in team.states]) for name in names]
                self.memory[i] = rebuild(plan.memory[i], each)
        for i, past in shared.items():
            self.memory[i] = past
        self.k: list[Any] = []
        for i, link in enumerate(chain.links):
            if link.measures():  # its sums are not known yet
                self.k.append(link.scalars(t))
            else:
                k, self.memory[i] = self._combined(i, ())
                self.k.append(k)

    def combine(self, i: int, sums: Sequence[Any]) -> None:
        """Give a link its sums: numbers, or columns where it sums over single tensors."""
        self.k[i], self.memory[i] = self._combined(i, sums)

    def _combined(self, i: int, sums: Sequence[Any]) -> tuple[Any, Any]:
        link, past = self.chain.links[i], self.memory[i]
        if (link.reach == "tensor" and link.measures()) or i in self.apart:
            return columns.combine(link, self.t, past, sums, self.n)
        return link.combine(self.t, past, sums)

    def metrics(self, i: int, sums: Sequence[Any]) -> dict[str, float]:
        """What a link knows about the step; the mean over the tensors where it looks at each alone."""
        link = self.chain.links[i]
        if type(link).metrics is Rule.metrics:
            return {}
        if link.reach == "tensor":
            return columns.metrics(link, self.k[i], sums, self.n)
        return {name: float(x) for name, x in link.metrics(self.k[i], sums).items()}

    def refused(self, i: int, sums: Sequence[Any]) -> Sequence[float] | None:
        """The sums for which a link does not let the step be taken, if any."""
        link = self.chain.links[i]
        if type(link).accepts is Rule.accepts:
            return None
        each = columns.rows(tuple(sums), self.n) if link.reach == "tensor" else [sums]
        return next((own for own in each if not link.accepts(own)), None)

    def share(self) -> None:
        """Hand the scalars to the slots: all of them, or to each its own where the executor reads no columns."""
        k: Any = tuple(self.k)
        if self.team.bucket.executor.reads_columns or not columns.divided(k):
            for slot in self.team.slots:
                slot.k = k
        else:
            for slot, own in zip(self.team.slots, columns.rows(k, self.n), strict=True):
                slot.k = own

    def commit(self) -> None:
        """Count the step and keep the memory."""
        t, plan = self.t, self.plan
        for state in self.team.states:
            state["step"] = t
        for i, names in plan.apart:
            for name, new in zip(names, flatten(self.memory[i]), strict=True):
                for state, x in zip(self.team.states, columns.listed(new, self.n), strict=True):
                    state[name] = x
        if plan.alike:
            numbers = flatten(tuple(self.memory[i] for i in plan.own))
            alike = {name: x for name, x in zip(plan.numbers, numbers, strict=True) if name in plan.alike}
            for state in self.team.states:
                state.update(alike)
