"""Tuning by gradient: how the validation loss after a short training changes with the values it was trained with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steepest.core.errors import SteepestError
from steepest.strategy.dimension import Range, SpaceError
from steepest.strategy.space import Point, Space
from steepest.strategy.space import space as make_space
from steepest.strategy.value import Strategy, movable
from steepest.tasks.registry import load
from steepest.tasks.task import Task
from steepest.tune.unrolled import hypergradient

FIRST_SEED = 1_000_000
FARTHEST = 0.25
"""How far a value goes in a round at most, as a share of its range."""


@dataclass(frozen=True)
class Descent:
    """Where a descent by hypergradients went."""

    space: Space
    point: Point
    """The values with the smallest loss."""
    history: list[dict[str, Any]] = field(repr=False)
    """For each round: ``point``, ``loss`` after the short training, its ``slope`` over each range, by path, and whether
    it was ``better`` than all before."""

    @property
    def strategy(self) -> Strategy:
        """The strategy with these values."""
        return self.space.at(self.point)


def by_gradient(
    task: Task | str,
    space: Space | Strategy | str,
    *,
    steps: int = 20,
    rounds: int = 30,
    rate: float = 0.05,
    start: Mapping[str, Any] | None = None,
    seeds: int = 2,
    seed: int = 0,
    on_round: Callable[[dict[str, Any]], None] | None = None,
) -> Descent:
    """Move a few continuous values of a strategy against the slope of the validation loss.

    Each round trains a few steps from scratch, with a complete schedule of that length, keeps the graph, and goes back
    through it to the values (unrolled hypergradients). They move by BFGS on the
    logarithm of the loss. Where that made it larger (beyond the edge of stability slopes are steep and say little), it
    goes back three quarters of the way.

    Args:
        task: What is trained.
        space: Which values are searched: numbers of the rule, of gradient pieces and wrappers.
        steps: Length of the short training. Memory grows with it.
        rounds: How many of them.
        rate: How far a value goes in the first round, as a share of its range.
        start: Where to begin; None: in the middle.
        seeds: Over how many initialisations and data orders the loss is averaged.
        seed: Fixes these. The same arguments give the same result.
        on_round: Called with each round's record.

    What is good after 20 steps may not be after 20 000: short horizons favour small learning rates (arXiv:1803.02021).

    Source: Maclaurin et al. 2015, arXiv:1502.03492 (hypergradients of a training); Franceschi et al. 2017,
    arXiv:1703.01785, section 3.1 (through the graph of all steps).

    Example:
        >>> found = by_gradient("quadratic", "sgd(lr=log(1e-4, 1))", steps=10, rounds=15, rate=0.1)
        >>> min(h["loss"] for h in found.history) < found.history[0]["loss"]
        True
    """
    searched = make_space(space)
    _check(searched, steps, rounds, rate, seeds)
    loaded = load(task)
    history: list[dict[str, Any]] = []

    def look(u: Tensor) -> tuple[float, Tensor]:
        """The mean over the seeds, and its slope; infinity where any of them breaks down."""
        found = [
            hypergradient(loaded, searched, u.tolist(), steps=steps, seed=FIRST_SEED + seed + k) for k in range(seeds)
        ]
        loss, slope = sum(x for x, _ in found) / seeds, torch.tensor([g for _, g in found]).double().mean(0)
        loss = loss if math.isfinite(loss) and slope.isfinite().all() else math.inf
        point = searched.point(dict(zip(searched, u.tolist(), strict=True)))
        slopes = dict(zip(searched, slope.tolist(), strict=True))
        history.append({"point": point, "loss": loss, "slope": slopes, "better": loss < best[0]})
        if on_round is not None:
            on_round(history[-1])
        return loss, slope

    u = torch.tensor([*searched.places(start or searched.point(dict.fromkeys(searched, 0.5))).values()]).double()
    best: tuple[float, Tensor, Tensor] = (math.inf, u, u)
    inverse, direction, share = torch.eye(len(u)).double(), torch.zeros_like(u), 1.0
    while len(history) < rounds:
        loss, slope = look(u)
        if not history[0]["loss"] < math.inf:
            said = f"the short training diverges at {searched.at(history[0]['point'])}"
            raise SteepestError(f"{said}. Start elsewhere: start={{...}}.")
        g = slope / max(abs(loss), 1e-30)  # of the logarithm, which does not depend on the unit of the loss
        if loss < best[0]:
            if best[0] == math.inf:
                inverse *= rate / g.abs().max().clamp(min=1e-30)
            else:
                inverse = _updated(inverse, u - best[1], g - best[2])
            best, share = (loss, u, g), 1.0
        else:
            share /= 4
        direction = -(inverse @ best[2])
        direction *= min(1.0, FARTHEST / float(direction.abs().max().clamp(min=1e-30)))
        u = (best[1] + share * direction).clamp(0, 1)
    return Descent(searched, searched.point(dict(zip(searched, best[1].tolist(), strict=True))), history)


def _updated(inverse: Tensor, step: Tensor, change: Tensor) -> Tensor:
    """BFGS's next estimate of the inverse Hessian; the one before where the curvature was not positive."""
    along = step @ change
    if along <= 1e-12:
        return inverse
    left = torch.eye(len(step)).double() - torch.outer(step, change) / along
    return left @ inverse @ left.T + torch.outer(step, step) / along


def searchable(space: Space) -> None:
    """Refuse what no gradient reaches."""
    for (place, key, dimension), path in zip(space.open, space.dimensions, strict=True):
        piece, word = space.pieces[place], path.rpartition(".")[2]
        if not isinstance(dimension, Range) or dimension.whole:
            raise SpaceError(f"{path} is searched in {dimension}, which has no slope. Fix it, or search it with tune.")
        if piece.role == "schedule" or word not in movable(piece) or len(key) > 2:
            raise SpaceError(
                f"{path} cannot be reached by a gradient: it must be a number of the rule, a gradient piece or a "
                "wrapper. Fix it, or search it with tune."
            )


def _check(space: Space, steps: int, rounds: int, rate: float, seeds: int) -> None:
    if not len(space):
        raise SpaceError(f"{space} has no range in it. Write one: sgd(lr=log(1e-3, 1)).")
    searchable(space)
    for name, value in (("steps", steps), ("rounds", rounds), ("seeds", seeds)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SteepestError(f"{name} must be a whole number >= 1; given {value!r}.")
    if not 0 < rate <= 1:
        raise SteepestError(f"rate lies in (0, 1]: a share of each range; given {rate!r}.")
