"""Meta-training: the weights of ``neuron_graph`` by persistent evolution strategies on many small runs at once."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steepest.core.records import load_checkpoint, save_checkpoint
from steepest.graph.meta.families import HELD_OUT, TRAIN, Family
from steepest.graph.meta.pes import Pairs
from steepest.graph.meta.runs import Runs, compare
from steepest.rules.neurons import count, outputs, untrained
from steepest.strategy import parse

HELD_RATES = (3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True)
class Plan:
    """What is trained, and how.

    Args:
        nodes: With the neurons, or edges alone.
        updates: Of the weights.
        pairs: Antithetic pairs a task.
        tasks: Tasks of a family at once.
        piece: Steps of a run between two updates.
        sigma: Standard deviation of perturbations.
        lr: Adam's, which falls along a cosine.
        whole: Train the first layers too. They stay random otherwise, which leaves 51 numbers to train of 199: an
            estimate is the better, the fewer it is of.
        seed: Of everything.
        families: Names of those to train on; none: all.
        judge: Updates between two looks at held-out families; 0 for none.
        keep: Updates between two checkpoints.
        bound: Largest influence of one piece: its loss over that of Adam counts between ``exp(-bound)`` and
            ``exp(bound)``.
    """

    nodes: bool = True
    updates: int = 400
    pairs: int = 16
    tasks: int = 2
    piece: int = 50
    sigma: float = 0.1
    lr: float = 3e-2
    whole: bool = False
    seed: int = 0
    families: tuple[str, ...] = ()
    judge: int = 50
    keep: int = 5
    bound: float = 1.0


class MetaTraining:
    """The training of one set of weights, which goes on where it stopped.

    The loss of a piece is the logarithm of its mean loss over that of Adam, the rule with untrained weights, which
    trains every task beside the pairs from the same start on the same batches. It counts with the square of the part of
    the run that is over: what matters is the end.

    Args:
        plan: What is trained, and how.
        folder: For the checkpoint and the curve (``curve.jsonl``); none: nothing is written.
        device: Where to compute.
        families: What is trained on.
    """

    def __init__(
        self, plan: Plan, folder: Path | None = None, device: str = "cpu", families: tuple[Family, ...] = TRAIN
    ) -> None:
        self.plan, self.folder, self.device = plan, folder, device
        self.update = 0
        self.seconds = 0.0
        self.base = untrained(plan.nodes).float().to(device)
        free = torch.ones(len(self.base), dtype=torch.bool) if plan.whole else outputs(plan.nodes)
        self.free = free.nonzero().flatten().to(device)
        self.change = torch.nn.Parameter(self.base.new_zeros(len(self.free)))
        strategy = parse(f"adam(lr={plan.lr}, betas=(0.9, 0.98)) | cosine | clip_norm(1)")
        self.optimizer = strategy.optimizer([self.change], steps=plan.updates)
        self.generator = torch.Generator().manual_seed(plan.seed)
        members = 1 + 2 * plan.pairs
        chosen = [f for f in families if not plan.families or f.name in plan.families]
        self.runs = [
            Runs(f, plan.tasks, members, 1000 * plan.seed + i, nodes=plan.nodes, device=device)
            for i, f in enumerate(chosen)
        ]
        self.pairs = [Pairs(plan.tasks * plan.pairs, self.change.detach(), plan.sigma) for _ in chosen]
        if folder is not None:
            self._resume(folder)

    @property
    def theta(self) -> Tensor:
        """The rule's weights as they are now."""
        return self.weights(self.change.detach())

    def weights(self, change: Tensor) -> Tensor:
        """The rule's weights, for each of a stack of changes."""
        shape = (*change.shape[:-1], len(self.base))
        return self.base.expand(shape).index_add(-1, self.free, change)

    def train(self, updates: int | None = None, minutes: float = math.inf) -> Tensor:
        """Update up to the plan's number, or stop before; the weights as they are then."""
        last = self.plan.updates if updates is None else min(self.plan.updates, self.update + updates)
        start = time.process_time()
        before = self.seconds
        while self.update < last and (self.seconds - before) < 60 * minutes:
            line = self.step()
            self.seconds = before + time.process_time() - start
            if self.plan.judge and (self.update % self.plan.judge == 0 or self.update == self.plan.updates):
                line["held_out"] = self.judged()
            self._write(line)
        return self.theta

    def step(self) -> dict[str, Any]:
        """One update of the weights; what to write about it."""
        ratios, gradient = [], torch.zeros_like(self.change)
        for runs, pairs in zip(self.runs, self.pairs, strict=True):
            if runs.over:
                runs.begin()
                pairs.forget()
            ratio, estimate = self.piece(runs, pairs)
            ratios.append(ratio)
            gradient += estimate / len(self.runs)
        self.change.grad = gradient
        norm = float(gradient.norm())
        self.optimizer.step()
        self.update += 1
        return {"kind": "meta", "update": self.update, "log_ratio": ratios, "gradient": norm}

    def piece(self, runs: Runs, pairs: Pairs) -> tuple[float, Tensor]:
        """Train a piece with perturbed weights: the mean logarithm of loss over Adam's, and the estimate."""
        plan, n = self.plan, self.plan.tasks
        noise = pairs.draw(self.generator).view(n, plan.pairs, -1)
        change = self.change.detach()
        perturbed = torch.cat([change + noise, change - noise], 1)
        flat = torch.cat([self.base.expand(n, 1, -1), self.weights(perturbed)], 1)
        losses = runs.steps(flat.flatten(0, 1), min(plan.piece, runs.family.steps - runs.t))
        counts = (runs.t / runs.family.steps) ** 2
        log = losses.mean(0).log()
        ratio = (log[:, 1:] - log[:, :1]).nan_to_num(plan.bound).clamp(-plan.bound, plan.bound)
        plus, minus = ratio.view(n, 2, plan.pairs).unbind(1)
        return float(ratio.mean()), counts * pairs.gradient(plus.flatten(), minus.flatten())

    def judged(self) -> dict[str, list[float]]:
        """On held-out families: the logarithm of the final loss over Adam's, each at its best rate, task by task."""
        return {family.name: held_out(family, self.theta, device=self.device) for family in HELD_OUT}

    def state(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {
            "plan": dataclasses.asdict(self.plan),
            "update": self.update,
            "seconds": self.seconds,
            "change": self.change.detach(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "runs": [runs.state() for runs in self.runs],
            "history": [pairs.history for pairs in self.pairs],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        if state["plan"] != dataclasses.asdict(self.plan):
            raise ValueError(f"the checkpoint is of another plan: {state['plan']}. Choose another folder.")
        self.update, self.seconds = state["update"], state["seconds"]
        with torch.no_grad():
            self.change.copy_(state["change"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        for runs, pairs, r, h in zip(self.runs, self.pairs, state["runs"], state["history"], strict=True):
            runs.load(r)
            pairs.history = h

    def _resume(self, folder: Path) -> None:
        state, _ = load_checkpoint(folder, self.device)
        curve = folder / "curve.jsonl"
        if state is not None:
            self.load(state)
        if curve.exists():  # lines behind the checkpoint are written again
            lines = [x for x in curve.read_text().splitlines() if json.loads(x)["update"] <= self.update]
            curve.write_text("".join(f"{x}\n" for x in lines))

    def _write(self, line: dict[str, Any]) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "curve.jsonl").open("a") as file:
            file.write(json.dumps(line | {"cpu_seconds": round(self.seconds, 2)}) + "\n")
        if self.update % self.plan.keep == 0 or self.update == self.plan.updates:
            save_checkpoint(self.folder, self.state())


@functools.cache
def adams(family: Family, nodes: bool, n: int, seed: int, device: str) -> list[float]:
    """Adam's final loss at its best rate, task by task."""
    return best(compare(family, untrained(nodes), HELD_RATES, n, seed, device))


def best(losses: list[list[float]]) -> list[float]:
    """The least of each task."""
    return [min(row) for row in losses]


def held_out(family: Family, theta: Tensor, n: int = 3, seed: int = 7, device: str = "cpu") -> list[float]:
    """The logarithm of the final loss over Adam's, each at the best of the same rates, for every task."""
    ours = best(compare(family, theta, HELD_RATES, n, seed, device))
    return [math.log(a / b) for a, b in zip(ours, adams(family, len(theta) == count(), n, seed, device), strict=True)]
