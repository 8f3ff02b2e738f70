"""The record of a neural graph: what a page needs to draw it, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steepest.graph.adjacency import GraphError
from steepest.graph.axes import atoms
from steepest.graph.neural import NeuralGraph, neural_graph
from steepest.tasks.registry import load
from steepest.tasks.task import Task, TaskError

SHOWN = 24
"""Neurons that are drawn of a layer, evenly spaced."""
DRAWN = 160
"""Edges that are drawn of a tensor at most, the largest; fewer where there are many tensors."""
LINES = 800
"""About so many edges are drawn in all."""


@dataclass(frozen=True)
class Picture:
    """A neural graph, the model's tensors, and the record that is drawn."""

    graph: NeuralGraph
    state: dict[str, Tensor]
    record: dict[str, Any]


def picture(what: str | Task | nn.Module, *inputs: Any, seed: int = 0) -> Picture:
    """The neural graph of a task's model, or of any module, ready to be drawn by ``steepest.report.draw``.

    Args:
        what: A task or its text, or a module.
        inputs: What a module is called with; a task knows, it takes a batch of its own.
        seed: Of a task: which initialisation.

    Example:
        >>> made = picture("digits-mlp")
        >>> [layer["name"] for layer in made.record["layers"]], len(made.record["layers"][1]["shown"])
        (['0 from', '0', '2', '4'], 24)
    """
    if isinstance(what, nn.Module):
        if not inputs:
            raise GraphError("a module is followed through one forward pass: give what it is called with.")
        name, model = type(what).__name__, what
        graph = neural_graph(model, *inputs)
    else:
        if inputs:
            raise GraphError(f"a task brings its own batch; given {len(inputs)} inputs beside {what!r}.")
        task = load(what)
        name, model = task.name, task.build(seed)
        graph = neural_graph(_Called(task, model), task.batches(seed).batch(0)).without("model.")
    state = {n: t.detach() for n, t in model.state_dict(keep_vars=True).items()}
    state |= {n: t.detach() for n, t in model.named_buffers()}
    if not graph.flow:
        raise GraphError(f"{name} has no weights between neurons: nothing can be drawn.")
    return Picture(graph, state, record(graph, state, name))


class _Called(nn.Module):
    """A task's forward pass as a module, so that what it does outside the model is followed too."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, batch: Any) -> Any:
        try:
            return self.task.forward(self.model, batch)
        except TaskError:
            raise
        except Exception as failure:
            raise GraphError(f"the forward pass of {self.task.name} failed: {failure}") from failure


def columns(graph: NeuralGraph) -> list[int]:
    """Where each layer stands from left to right: inputs first, outputs last, between them each as it was met."""
    between = [i for i, n in enumerate(graph.neurons) if n.kind not in ("input", "output")]
    place = {i: column for column, i in enumerate(between, 1)}
    last = len(between) + 1
    return [place.get(i, 0 if n.kind == "input" else last) for i, n in enumerate(graph.neurons)]


def record(graph: NeuralGraph, state: dict[str, Tensor], name: str) -> dict[str, Any]:
    """Plain data: layers with the neurons that are shown, edges between these, every tensor in words."""
    offsets, shown = graph.offsets, dict[int, None]()
    layers = []
    for n, offset, column in zip(graph.neurons, offsets, columns(graph), strict=True):
        places = sorted({round(i * (n.size - 1) / max(1, min(SHOWN, n.size) - 1)) for i in range(min(SHOWN, n.size))})
        shown |= {offset + place: None for place in places}
        layers.append({"name": n.name, "size": n.size, "kind": n.kind, "why": n.why, "column": column, "shown": places})
    visible = torch.zeros(sum(n.size for n in graph.neurons), dtype=torch.bool)
    visible[list(shown)] = True
    edges = []
    most = min(DRAWN, max(40, LINES // len(graph.flow)))
    for e in graph.edges(state):
        keep = (visible[e.start] & visible[e.to]).nonzero()[:, 0]
        keep = keep[e.value[keep].abs().argsort(descending=True, stable=True)[:most]]
        rows = zip(e.start[keep].tolist(), e.to[keep].tolist(), e.value[keep].tolist(), strict=True)
        edges.append(
            {
                "tensor": e.tensor,
                "count": len(e.value),
                "largest": float(e.value.abs().max()),
                "single": bool((e.value < 0).any()),
                "edges": [[a, b, float(f"{v:.4g}")] for a, b, v in rows],
            }
        )
    tensors = [
        {
            "name": t,
            "shape": list(state[t].shape),
            "axes": [graph.text(axis) for axis in axes],
            "free": any(not atom.fixed for axis in axes for atom in atoms(axis)),
        }
        for t, axes in graph.axes.items()
        if t in state
    ]
    return {
        "kind": "neurons",
        "title": name,
        "neurons": sum(n.size for n in graph.neurons),
        "weights": sum(t.numel() for t in state.values() if t.is_floating_point()),
        "hidden": dict(graph.hidden),
        "layers": layers,
        "edges": edges,
        "tensors": tensors,
        "isolated": dict(graph.isolated),
        "unknown": {function: list(places) for function, places in graph.unknown.items()},
    }
