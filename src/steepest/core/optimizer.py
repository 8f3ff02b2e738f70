"""A chain behind ``torch.optim.Optimizer``: groups, hooks, closures, schedules and state dicts as torch has them."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from steepest.core import state_dict as states
from steepest.core.chain import Chain, chain
from steepest.core.errors import NonFiniteError, did_you_mean
from steepest.core.executors import Choice, Executors
from steepest.core.piece import Kind
from steepest.core.rule import Nothing, Rule, rule
from steepest.core.step import Bucket, Entry, StepRefused, take

PAIRS = {"beta1": ("betas", 0), "beta2": ("betas", 1)}
"""Hyperparameters that torch keeps in a tuple."""
HINTS = ("foreach", "fused", "capturable")
"""Arguments by which torch.optim's callers choose an implementation; accepted, and left to ``executor``."""
LABELS = frozenset({"params", "param_names", "name", "method", "maximize", *HINTS})
"""What a parameter group may hold besides hyperparameters."""


def _plain(value: Any) -> Any:
    """A hyperparameter as a Python value that can be looked up."""
    if type(value) in (float, int, bool):  # nearly always
        return value
    if isinstance(value, (list, tuple)):
        return tuple([_plain(v) for v in value])
    return value.item() if isinstance(value, (Tensor, np.generic)) else value


@rule
class Ascent(Rule):
    """Turn the gradient round, to maximise: ``u = -g``."""

    def update(self, g: Any, s: Nothing, p: Any, k: Nothing) -> tuple[Any, Nothing]:
        return -g, s


class Scheduler(Protocol):
    """What sets hyperparameters from the step count; the strategy brings one."""

    def factors(self, t: int) -> Mapping[str, float]:
        """For step t = 0, 1, ...: by how much to multiply the base value of each hyperparameter."""

    def observe(self, value: float) -> None:
        """Hear the newest validation value."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs beyond the step count."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""


class Optimizer(torch.optim.Optimizer):
    """Runs a chain of rules over parameter groups.

    Args:
        params: Parameters, named parameters, or groups of them, as torch takes them.
        methods: For each method name the assembly (a kind of role ``"rule"``) that makes its chain from
            hyperparameters. A group says by ``method`` which one it uses; the first is the default.
        defaults: Hyperparameters of groups that do not state them.
        gradients: Assemblies of what happens to gradients before the rule, over all groups, as ``(kind, arguments)``.
        scheduler: Multiplies hyperparameters of groups and gradient pieces at each step.
        executor: ``"auto"``, or one of ``"native"``, ``"blocked"``, ``"reference"``.

    After each step, ``metrics`` holds what the step knew at no extra cost (``grad_norm`` before clipping,
    ``clip_factor``, ``skipped``); ``steps`` counts steps taken and ``skipped_steps`` those refused by a guard.

    With a scheduler, a group shows the values of the newest step (before the first: of the first), and the base values
    as ``initial_lr``, ... A value set by hand holds for one step; to change the course, set the base value.
    """

    exports: ClassVar[Mapping[str, Any]] = {}
    """What the groups of a state dict say besides, so that torch.optim's class runs the same rule."""

    def __init__(
        self,
        params: Any,
        methods: Mapping[str, Kind[..., Any]],
        defaults: Mapping[str, Any],
        *,
        gradients: Iterable[tuple[Kind[..., Any], Mapping[str, Any]]] = (),
        scheduler: Scheduler | None = None,
        executor: Choice = "auto",
    ) -> None:
        self.methods = dict(methods)
        self.gradients = [(kind, {n: _plain(v) for n, v in arguments.items()}) for kind, arguments in gradients]
        self.base_gradients = [dict(arguments) for _, arguments in self.gradients]
        self.scheduler = scheduler
        self.executor: Choice = executor
        self.steps = 0
        self.skipped_steps = 0
        self.metrics: dict[str, float] = {}
        self._prepare()
        try:
            super().__init__(params, {"maximize": False, "method": next(iter(self.methods)), **defaults})
        except ValueError as error:
            if "empty parameter list" in str(error):
                raise ValueError(
                    f"{type(self).__name__} was given no parameters. Pass model.parameters() of a model that has some; "
                    "a generator that was read before is empty."
                ) from None
            raise
        if scheduler is not None:
            self._schedule()

    def _prepare(self) -> None:
        """What is made anew after copying, pickling and loading."""
        self._executors = Executors(self.executor)
        self._entries: dict[int, Entry] = {}
        self._buckets: dict[Any, Bucket] = {}
        self._chains: dict[Any, Chain] = {}
        self._scheduled: dict[tuple[int, str], Any] = {}
        self._names = {name: tuple(kind.signature.parameters) for name, kind in self.methods.items()}
        self.prefix = len(chain(*(kind.function(**arguments) for kind, arguments in self.gradients)).links)
        self._told = False

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; refuses hyperparameters that the group's method does not have, and values out of range."""
        method = param_group.get("method", self.defaults["method"])
        if method not in self.methods:
            raise ValueError(f"no method {method!r} in this optimizer. {did_you_mean(method, self.methods)}")
        known = {*self.methods[method].signature.parameters, *LABELS}
        for name in param_group:
            if name not in known and not name.startswith("initial_"):
                raise TypeError(f"{method} takes no argument {name!r} in a group. {did_you_mean(name, known - LABELS)}")
        super().add_param_group(param_group)
        try:
            self.chain(self.param_groups[-1])
        except Exception:
            self.param_groups.pop()
            raise

    # -- the chain of a group -----------------------------------------------------------------------------------------

    def chain(self, group: Mapping[str, Any]) -> Chain:
        """Gradient pieces, then the group's rule, with the hyperparameters as they are now."""
        name = group["method"]
        values = tuple([_plain(v) for v in map(group.__getitem__, self._names[name])])
        shared = tuple([tuple(arguments.values()) for _, arguments in self.gradients])
        key = (name, group["maximize"], values, shared)
        made = self._chains.get(key)
        if made is None:
            if len(self._chains) > 256:  # a schedule makes a new one each step
                self._chains.clear()
            parts: list[Rule | Chain] = [kind.function(**arguments) for kind, arguments in self.gradients]
            if group["maximize"]:
                parts.append(Ascent())
            own = dict(zip(self._names[name], values, strict=True))
            made = self._chains[key] = chain(*parts, self.methods[name].function(**own))
        return made

    # -- schedules ----------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Set what the schedules say for this step, except where somebody has set another value since the last."""
        if self.scheduler is None:
            return
        for name, factor in self.scheduler.factors(self.steps).items():
            for (_, arguments), base in zip(self.gradients, self.base_gradients, strict=True):
                if name in arguments:
                    arguments[name] = base[name] * factor
            key, place = PAIRS.get(name, (name, None))
            for number, group in enumerate(self.param_groups):
                if key not in group:
                    continue
                base_value = group.setdefault(f"initial_{key}", group[key])
                now = group[key] if place is None else group[key][place]
                if now != self._scheduled.setdefault((number, name), now):
                    self._scheduled[number, name] = now  # set by hand: it holds for this step
                    continue
                if place is None:
                    group[key] = now = base_value * factor
                else:
                    values = list(group[key])
                    values[place] = now = base_value[place] * factor
                    group[key] = tuple(values)
                self._scheduled[number, name] = now

    def observe(self, value: float) -> None:
        """Tell the schedules the newest validation value (reduce on plateau listens)."""
        if self.scheduler is not None:
            self.scheduler.observe(value)

    # -- the step -----------------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; with a closure, evaluate it first (gradients enabled) and return its loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._schedule()
        try:
            self.metrics = take(self)
        except StepRefused as refused:
            self._refuse(refused)
        else:
            self.steps += 1
        return loss

    def _refuse(self, refused: StepRefused) -> None:
        gradients = ((name, p.grad) for name, p in self.named_parameters() if p.grad is not None)
        bad = next((name for name, g in gradients if not g.isfinite().all()), None)
        where = f"the gradient of {bad!r} is not finite" if bad else "the gradient norm is not finite"
        if refused.link.refusal == "raise":
            raise NonFiniteError(
                f"step {self.steps + 1}: {where}. Nothing was changed. "
                "Lower the learning rate, clip, or use nonfinite('skip')."
            )
        self.skipped_steps += 1
        self.metrics = {**refused.metrics, "skipped": 1.0}
        if not self._told:
            self._told = True
            warnings.warn(
                f"step {self.steps + 1} was skipped: {where}. Parameters, state and schedule are untouched; "
                "further skips are counted in skipped_steps and not announced.",
                RuntimeWarning,
                stacklevel=4,
            )

    def named_parameters(self) -> Iterable[tuple[str, Tensor]]:
        """Every parameter with its name, or with its position where no names were given."""
        i = 0
        for group in self.param_groups:
            names = group.get("param_names")
            for j, p in enumerate(group["params"]):
                yield (names[j] if names else f"parameter {i}"), p
                i += 1

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """As torch's, with torch's names where torch.optim has the rule, so that either loads the other's."""
        hooks, self._optimizer_state_dict_post_hooks = self._optimizer_state_dict_post_hooks, OrderedDict()
        try:
            own = super().state_dict()
        finally:
            self._optimizer_state_dict_post_hooks = hooks
        own["state"] = {i: states.outward(s) for i, s in own["state"].items()}
        own["steepest"] = {
            "steps": self.steps,
            "skipped_steps": self.skipped_steps,
            "gradients": [dict(arguments) for _, arguments in self.gradients],
            "base_gradients": [dict(arguments) for arguments in self.base_gradients],
            "schedule": self.scheduler.state_dict() if self.scheduler is not None else {},
        }
        for group in own["param_groups"]:
            group.update(self.exports)
        for hook in hooks.values():  # they see what the caller will get
            changed = hook(self, own)
            own = own if changed is None else changed
        return own

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`, this class's or that of the torch.optim class with the same rule.

        Parameters are matched by name where both sides have names, else by position. State keeps the dtype it was
        saved in.
        """
        given = dict(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            given = hook(self, given) or given
        states.load(self, given)
        extra = given.get("steepest", {})
        self.steps = int(extra.get("steps", max((s.get("step", 0) for s in self.state.values()), default=0)))
        self.skipped_steps = int(extra.get("skipped_steps", 0))
        for key, mine in (("gradients", [a for _, a in self.gradients]), ("base_gradients", self.base_gradients)):
            for arguments, saved in zip(mine, extra.get(key, ()), strict=False):
                arguments.update({n: v for n, v in saved.items() if n in arguments})
        if self.scheduler is not None:
            self.scheduler.load_state_dict(extra.get("schedule", {}))
        self._prepare()
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("methods", "gradients", "base_gradients", "scheduler", "executor", "steps", "skipped_steps", "metrics")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in kept}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._prepare()
