"""A look at how tasks get on, now and then during ordinary training on their sum."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steepest.core.errors import SteepestError
from steepest.fit.beginning import seeded as begun
from steepest.fit.loop import one_step
from steepest.fit.threads import threads, wanted
from steepest.multitask.graph import anatomy, check
from steepest.multitask.lookahead import lookahead
from steepest.strategy.value import Strategy
from steepest.tasks.data import to_device
from steepest.tasks.randomness import get_state, mix, seed_all, seeded, set_state
from steepest.tasks.task import Task

OTHER = 500_000
"""Batches of probes are those of this much larger a seed: training never sees them in that order."""


class AdviceError(SteepestError, ValueError):
    """Tasks that cannot be compared, or a run that says nothing."""


@dataclass(frozen=True)
class Probe:
    """What was measured at one moment, on two batches; lists are in the order of the tasks.

    ``norms``: lengths of the gradients of what is shared. ``cosines``: between them, in the same batch. ``products``:
    between the gradients of one batch and those of the other, which share no noise. ``helps``: by what share a step for
    i (of the length of the optimizer's own) lowers the loss of j.
    """

    seed: int
    step: int
    losses: list[float]
    norms: list[float]
    cosines: list[list[float]]
    products: list[list[float]]
    helps: list[list[float]]


def moments(steps: int, count: int) -> list[int]:
    """After which steps to look: more often in the beginning.

    >>> moments(800, 5)
    [1, 50, 200, 450, 800]
    """
    return sorted({max(1, round(steps * (k / (count - 1)) ** 2)) for k in range(count)}) if count > 1 else [steps]


def probes(
    task: Task, strategy: Strategy, seed: int, at: list[int], on_step: Callable[[], None] = lambda: None
) -> Iterator[Probe]:
    """Train on the task's own loss, and look."""
    before = get_state()
    try:
        model = task.build(seed)
        device = next(model.parameters()).device
        batches, others = task.batches(seed), task.batches(seed + OTHER)
        optimizer: Any = begun(strategy, seed).optimizer(
            model, steps=task.steps, steps_per_epoch=batches.steps_per_epoch
        )
        seed_all(mix(seed, "training"))
        model.train()
        with threads(wanted(model, device)):
            for step in range(1, max(at) + 1):
                batch = to_device(batches.batch(step - 1), device)
                was = {n: p.detach().clone() for n, p in model.named_parameters()} if step in at else {}
                one_step(task, model, optimizer, batch)
                on_step()
                if step in at:
                    pair = [to_device(others.batch(2 * step + i), device) for i in (0, 1)]
                    yield _look(task, model, was, pair, seed, step)
    finally:
        set_state(before)


def _look(task: Task, model: nn.Module, was: dict[str, Tensor], pair: list[Any], seed: int, step: int) -> Probe:
    """The model is a copy, so batch norm and random numbers of the training see nothing of it."""
    model = copy.deepcopy(model)

    def losses(batch: Any) -> dict[str, Tensor]:
        with seeded(seed, "advice", step):
            return task.training_losses(model, batch)

    found = [losses(batch) for batch in pair]
    values = [check(each) for each in found]
    params = anatomy(found[0]).shared
    if not params:
        raise AdviceError(f"the losses of {task.name!r} share no parameter: they do not meet, and need no method.")
    if not all(bool(torch.stack([x.detach().reshape(()) for x in row]).isfinite().all()) for row in values):
        raise AdviceError(
            f"a loss of {task.name!r} is not finite after step {step}, seed {seed}. Lower the learning rate."
        )
    J = [_rows(row, params) for row in values]
    norms = [rows.norm(dim=1) for rows in J]
    units = [rows / n.clamp(min=1e-300)[:, None] for rows, n in zip(J, norms, strict=True)]
    crossed = J[0] @ J[1].mT
    names = {id(p): n for n, p in model.named_parameters()}
    length = sum(float((p.detach() - was[names[id(p)]]).double().square().sum()) for p in params) ** 0.5
    state = {n: b.clone() for n, b in model.named_buffers()}

    def again() -> dict[str, Tensor]:
        for n, b in model.named_buffers():
            b.data.copy_(state[n])
        return losses(pair[1])

    helps = lookahead(again, params, length=length) if length > 0 else torch.zeros(len(J[0]), len(J[0]))
    return Probe(
        seed,
        step,
        [float(a.detach() + b.detach()) / 2 for a, b in zip(*values, strict=True)],
        ((norms[0] + norms[1]) / 2).tolist(),
        sum(u @ u.mT for u in units).div(2).tolist(),
        ((crossed + crossed.mT) / 2).tolist(),
        helps.tolist(),
    )


def _rows(losses: list[Tensor], params: list[Tensor]) -> Tensor:
    found = []
    for loss in losses:
        grads = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)]
        found.append(torch.cat([g.flatten() for g in parts]).double())
    return torch.stack(found)
