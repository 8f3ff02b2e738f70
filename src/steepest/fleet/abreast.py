"""Members with strategies of one structure, stepped in one go: the same rules, with one number for each member."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.chain import Chain
from steepest.core.errors import NonFiniteError
from steepest.core.layout import link_key
from steepest.core.rule import Rule
from steepest.core.scheduled import schedule
from steepest.core.step import StepRefused
from steepest.core.trace import flatten, rebuild
from steepest.fleet.members import Lane
from steepest.fleet.numbers import NotAlike, Numbers, agrees, link_of, row_of, rows_of
from steepest.fleet.part import Part, here
from steepest.fleet.squad import Gradients, Squad
from steepest.fleet.stack import Stack

Array = np.ndarray[Any, Any]


class Abreast(Squad):
    """Members whose strategies differ in numbers only. Every number is a column, every tensor a stack."""

    def __init__(self, lanes: Sequence[Lane], stack: Stack, low: int) -> None:
        super().__init__(lanes, stack, low)
        self.optimizers: list[Any] = [lane.run.optimizer for lane in lanes]
        self.members = len(lanes)
        self.numbers = Numbers(self.optimizers)
        try:
            alike = agrees(self.numbers, self.members)
        except (TypeError, ValueError, RuntimeError):
            alike = False  # rules that take one step count, or one number, at a time
        if not alike:
            raise NotAlike("numbers that are no vectors")
        first = self.optimizers[0]
        names = {id(p): name for name, p in lanes[0].run.model.named_parameters()}
        self.place = {names[id(p)]: i for i, (_, p) in enumerate(first.named_parameters())}
        self.prefix = first.prefix
        self.parts = [Part(self, i) for i in range(len(first.param_groups))]
        self.steps: Array = np.array([o.steps for o in self.optimizers])
        self.calls = np.zeros(self.members, dtype=np.int64)
        self.shared: dict[Any, Any] = {}
        for part in self.parts:
            for i in part.plan.shared:
                key = link_key(part.method, part.plan, i, self.prefix)
                past = [o.memory.get(key, part.plan.memory[i]) for o in self.optimizers]
                columns = [
                    torch.tensor([[float(x)] for x in column], dtype=torch.float64)
                    for column in zip(*map(flatten, past), strict=True)
                ]
                self.shared[key] = rebuild(past[0], columns)
        self.seen: list[Any] = []
        self.told: dict[int, tuple[list[Any], list[Any]]] = {}
        """Of what was seen in the last step: each member's numbers, once somebody asked."""
        self.rates: list[float] | None = None
        self.guards: dict[int, Any] = {}
        self.refused: Array = np.zeros(self.members, dtype=bool)
        self.lr: Any = 0.0

    # -------------------------------------------------------------------------------------------------------- a step

    @torch.no_grad()
    def step(self, gradients: Gradients, losses: Tensor) -> None:
        chains = self.numbers.chains(self.steps.tolist())
        self.lr, self.rates = self.numbers.rate, None
        own: list[list[Tensor | None]] = []
        rounds = 0
        for part, chain in zip(self.parts, chains, strict=True):
            own.append(part.rows(self, gradients))
            part.memory = list(part.plan.memory)
            for i, past in part.own.items():
                part.memory[i] = past
            for i in part.plan.shared:
                part.memory[i] = self.shared[link_key(part.method, part.plan, i, self.prefix)]
            t = part.now = part.time()
            part.k = []
            for i, link in enumerate(chain.links):
                if link.measures():
                    part.k.append(link.scalars(t))
                else:
                    k, part.memory[i] = link.combine(t, part.memory[i], ())
                    part.k.append(k)
            rounds = max(rounds, len(part.plan.stages))
        self.seen, self.told = [], {}
        self.refused = np.zeros(self.members, dtype=bool)
        for r in range(rounds):
            self._measure(r, chains, own, losses)
        held = self._hold() if self.refused.any() else None
        for part, chain, column in zip(self.parts, chains, own, strict=True):
            part.step(chain, column)
        if held is not None:
            self._put_back(held)
            self._refuse(gradients)
        taken = ~self.refused
        mask = torch.from_numpy(taken)[:, None]
        for part, column in zip(self.parts, own, strict=True):
            present = np.array([g is not None for g in column])
            part.t += taken[:, None] & present[None, :]
            for i in part.own:
                part.own[i] = _chosen(part.own[i], part.memory[i], mask)
            for i in part.plan.shared:
                key = link_key(part.method, part.plan, i, self.prefix)
                self.shared[key] = _chosen(self.shared[key], part.memory[i], mask)
        self.steps += taken
        self.calls += 1

    def _measure(self, r: int, chains: Sequence[Chain], own: Sequence[Sequence[Tensor | None]], losses: Tensor) -> None:
        """One round of sums, as :mod:`steepest.core.step` takes them, for all members."""
        m = self.members
        totals: dict[Any, Any] = {}
        found: list[tuple[int, int, Any, Any]] = []
        for number, (part, chain, column) in enumerate(zip(self.parts, chains, own, strict=True)):
            if r >= len(part.plan.stages):
                continue
            links = part.plan.stages[r]
            present = here(column)
            if not present:
                continue
            sums = part.sums(chain, links, column)
            at = 0
            for i in links:
                where = slice(at, at + part.plan.terms[i])
                at = where.stop
                reach = chain.links[i].reach
                if reach == "tensor":
                    full = np.zeros((m, len(part.names), where.stop - where.start))
                    full[:, list(present)] = sums[:, :, where]
                    over: Any = ("tensor", number, i)
                    totals[over] = full
                else:
                    key = link_key(part.method, part.plan, i, self.prefix)
                    over = ("group", part.called, *key) if reach == "group" else ("model", *key)
                    totals[over] = totals.get(over, 0.0) + sums[:, :, where].sum(1, keepdims=True)
                found.append((number, i, over, chain.links[i]))
        asked = set()
        for number, i, over, link in found:
            part = self.parts[number]
            total = totals[over]
            sums_i = [torch.from_numpy(np.ascontiguousarray(total[:, :, n])) for n in range(total.shape[2])]
            if "loss" in link.needs:
                sums_i.append(losses[self.low : self.low + m].double().cpu()[:, None])
            part.k[i], part.memory[i] = link.combine(part.now, part.memory[i], sums_i)
            self.seen.append((number, i, over, link, part.k[i], sums_i))
            if type(link).accepts is not Rule.accepts and over not in asked:
                asked.add(over)
                self._ask(link, sums_i)

    def _ask(self, link: Rule, sums: Sequence[Tensor]) -> None:
        """Let a guard look at each member's sums."""
        whole = torch.cat(list(sums), 1)
        alike = not any(isinstance(v, Tensor) for v in vars(link).values())
        at_once = getattr(link, "accepts_all", None)
        if alike and at_once is not None and at_once(whole):
            return
        rows = whole.tolist()
        for k, row in enumerate(rows):
            if not self.refused[k] and not (link if alike else link_of(link, k)).accepts(row):
                self.refused[k] = True
                self.guards[k] = (link, row)

    # ------------------------------------------------------------------------------------------------ refused steps

    def _hold(self) -> list[tuple[Tensor, Tensor]]:
        """Copies of what a refused step must leave as it is."""
        self._rows = torch.from_numpy(np.flatnonzero(self.refused))
        tensors = [t for part in self.parts for j, p in enumerate(part.p) for t in (p, *flatten(part.states[j]))]
        return [(t, t[self._rows].clone()) for t in tensors]

    def _put_back(self, held: Sequence[tuple[Tensor, Tensor]]) -> None:
        for t, rows in held:
            t[self._rows] = rows

    def _refuse(self, gradients: Gradients) -> None:
        for k in np.flatnonzero(self.refused):
            lane, opt = self.lanes[k], self.optimizers[k]
            link, row = self.guards.pop(int(k))
            own = link_of(link, int(k))
            for name, p in lane.run.model.named_parameters():
                g = gradients.get(name)
                p.grad = None if g is None else g[self.low + k]
            try:
                opt.steps = int(self.steps[k])
                opt._refuse(StepRefused(own, self.metrics(lane), own.reason(row)))
            except NonFiniteError as error:
                self.stopped_by(lane, error)
            for p in lane.run.model.parameters():
                p.grad = None

    # ------------------------------------------------------------------------------------------------- what is known

    def metrics(self, lane: Lane) -> dict[str, float]:
        row = self.row[lane.number]
        found: dict[str, float] = {}
        means: dict[Any, dict[Any, float]] = {}
        for at, (number, i, over, link, k, sums) in enumerate(self.seen):
            if type(link).metrics is Rule.metrics:
                continue
            own = link_of(link, row)
            if link.reach == "tensor":
                for j in range(len(self.parts[number].names)):
                    values = own.metrics(row_of(k, row, j), [row_of(s, row, j) for s in sums])
                    for name, value in values.items():
                        means.setdefault((i, name), {})[over, j] = value
                continue
            if at not in self.told:
                self.told[at] = rows_of(k, self.members), rows_of(tuple(sums), self.members)
            scalars, totals = self.told[at]
            for name, value in own.metrics(scalars[row], totals[row]).items():
                if link.reach == "model":
                    found.setdefault(name, value)
                else:
                    means.setdefault((i, name), {})[over] = value
        for (_, name), values in means.items():
            found.setdefault(name, sum(values.values()) / len(values))
        if self.refused[row]:
            found["skipped"] = 1.0
        return found

    @property
    def calm(self) -> bool:
        return not self.refusals and not self.refused.any()

    def skipped(self, lane: Lane) -> bool:
        return bool(self.refused[self.row[lane.number]])

    def rate(self, lane: Lane) -> float:
        if self.rates is None:
            self.rates = [float(lr) for lr in rows_of(self.lr, self.members)]
        return self.rates[self.row[lane.number]]

    def settle(self, lane: Lane) -> None:
        k = self.row[lane.number]
        opt = self.optimizers[k]
        steps = int(self.steps[k])
        if steps and opt.scheduler is not None:
            opt.steps = steps - 1
            schedule(opt)  # a group shows the numbers of the newest step
        opt.steps = steps
        opt.evaluations += int(self.calls[k])
        self.calls[k] = 0
        for part in self.parts:
            for j, column in enumerate(part.params):
                if not part.t[k, j]:
                    continue
                state = opt.state[column[k]]
                state["step"] = int(part.t[k, j])
                own = flatten(tuple(row_of(part.own[i], k, j) for i in part.plan.own))
                state.update(zip(part.plan.numbers, own, strict=True))
            for i in part.plan.shared:
                key = link_key(part.method, part.plan, i, self.prefix)
                opt.memory[key] = row_of(self.shared[key], k)

    @torch.no_grad()
    def copy(self, source: Lane, target: Lane) -> None:
        """Make one member's optimizer state that of another of this squad."""
        a, b = self.row[source.number], self.row[target.number]
        for part in self.parts:
            for states in part.states:
                for whole in flatten(states):
                    whole[b] = whole[a]
            part.t[b] = part.t[a]
            for i in part.own:
                for leaf in flatten(part.own[i]):
                    leaf[b] = leaf[a]
        for past in self.shared.values():
            for leaf in flatten(past):
                leaf[b] = leaf[a]


def _chosen(old: Any, new: Any, mask: Tensor) -> Any:
    """The new memory of members whose step was taken; scalars become columns."""
    leaves = []
    for a, b in zip(flatten(old), flatten(new), strict=True):
        b = torch.as_tensor(b, dtype=torch.float64)
        leaves.append(torch.where(mask, b, a))
    return rebuild(old, leaves)
