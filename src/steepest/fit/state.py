"""Everything that a run must remember to go on as if nothing had happened."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from steepest.core.records import SCHEMA, load_model
from steepest.fit.divergence import Watch
from steepest.fit.protocol import Steps
from steepest.tasks.randomness import get_state, set_state


@dataclass(frozen=True)
class Kept:
    """The best evaluation so far, where a strategy stops early and goes back to it.

    Args:
        step: When it was.
        validation: What was measured.
        weights: The model's state, as it is evaluated.
    """

    step: int
    validation: dict[str, float]
    weights: dict[str, Tensor]


@dataclass
class State:
    """Where a run is: steps taken, time spent training, the best validation so far."""

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best: float | None = None
    reached: int | None = None
    watch: Watch = field(default_factory=Watch)
    monitor: dict[str, Any] = field(default_factory=dict)
    stacked: int = 0
    """How many of the steps were taken in a stack with other runs."""
    kept: Kept | None = None

    @property
    def executor(self) -> str:
        """How the steps were made: ``"alone"``, ``"stacked"`` with other runs, or ``"partly stacked"``."""
        return "alone" if not self.stacked else "stacked" if self.stacked == self.step else "partly stacked"

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count what happens inside as training time; evaluation and writing stay outside."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - wall
        self.cpu_seconds += time.process_time() - cpu

    def validated(self, value: float, goal: str, hit: bool) -> None:
        """Take note of a validation result at the present step."""
        if math.isfinite(value) and (self.best is None or (value < self.best if goal == "min" else value > self.best)):
            self.best = value
        if hit and self.reached is None:
            self.reached = self.step


def pack(
    state: State, model: nn.Module, optimizer: Steps, evaluated: dict[str, Tensor] | None = None
) -> dict[str, Any]:
    """The checkpoint: plain data and tensors only, so that it loads with ``weights_only=True``.

    ``evaluated`` is the model's state for use, where a strategy averages: not the one from which training goes on.
    """
    return {
        "schema": SCHEMA,
        "step": state.step,
        "seconds": state.seconds,
        "cpu_seconds": state.cpu_seconds,
        "best": state.best,
        "reached": state.reached,
        "watch": state.watch.state_dict(),
        "monitor": copy.deepcopy(state.monitor),
        "stacked": state.stacked,
        "model": model.state_dict(),
        **({"evaluated": evaluated} if evaluated is not None else {}),
        **({"kept": vars(state.kept)} if state.kept is not None else {}),
        "optimizer": optimizer.state_dict(),
        "random": pack_random(),
    }


def unpack(saved: dict[str, Any], model: nn.Module, optimizer: Steps, source: str) -> State:
    """Put a checkpoint back: model, optimizer, random states; returns where the run was."""
    load_model(model, saved["model"], source)
    optimizer.load_state_dict(saved["optimizer"])
    unpack_random(saved["random"])
    return State(
        saved["step"],
        saved["seconds"],
        saved["cpu_seconds"],
        saved["best"],
        saved["reached"],
        Watch(**saved["watch"]),
        saved.get("monitor", {}),
        saved.get("stacked", 0),
        Kept(**saved["kept"]) if "kept" in saved else None,
    )


def pack_random() -> dict[str, Any]:
    """The state of every random generator; numpy's array becomes a tensor."""
    state = get_state()
    if "numpy" in state:
        name, keys, place, has_gauss, gauss = state["numpy"]
        state["numpy"] = (str(name), torch.from_numpy(keys.astype("int64")), int(place), int(has_gauss), float(gauss))
    return state


def unpack_random(saved: dict[str, Any]) -> None:
    """Put random states back; those of devices that are not here are left out."""
    state = dict(saved)
    state["torch"] = state["torch"].cpu()
    if "numpy" in state:
        if "numpy" in sys.modules:
            name, keys, *rest = state["numpy"]
            state["numpy"] = (name, keys.cpu().numpy().astype("uint32"), *rest)
        else:
            del state["numpy"]
    if "cuda" in state:
        here = torch.cuda.device_count()
        cuda = [s.cpu() for s in state.pop("cuda")]
        if here:
            state["cuda"] = cuda[:here]
    set_state(state)


@contextmanager
def own_random_states() -> Iterator[None]:
    """Inside, draw freely; afterwards the caller's random states are as they were."""
    before = get_state()
    try:
        yield
    finally:
        set_state(before)
