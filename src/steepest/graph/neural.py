"""A network as a graph: neurons are nodes, weights are edges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

import steepest.graph.contractions
import steepest.graph.entries  # noqa: F401 - what torch's functions do to axes
from steepest.graph.adjacency import GraphError
from steepest.graph.axes import Atom, Axis, Beside, Product, atoms, seen
from steepest.graph.trace import Trace

Kind = Literal["input", "hidden", "output", "fixed"]


@dataclass(frozen=True)
class Neurons:
    """Neurons that belong together, such as the channels of a layer or the features of a residual stream."""

    name: str
    """The layer that they were first met in."""
    size: int
    kind: Kind
    """``hidden`` neurons may be permuted wherever they stand, and the model computes the same."""
    why: str
    """What keeps the others in their places."""


@dataclass(frozen=True)
class Edges:
    """The weights of one tensor as edges between neurons, numbered through the graph."""

    tensor: str
    start: Tensor
    to: Tensor
    value: Tensor


@dataclass(frozen=True, eq=False)
class NeuralGraph:
    """Neurons of a model, and what stands along each axis of each of its tensors; it holds no weights."""

    neurons: tuple[Neurons, ...]
    hidden: Mapping[str, int]
    """What may be permuted, and how many there are: all neurons of a layer, or the factors of those that come in two
    (heads and what is in each)."""
    axes: Mapping[str, tuple[Axis, ...]] = field(repr=False)
    """For each parameter and buffer."""
    flow: Mapping[str, tuple[int, int]] = field(repr=False)
    """For each tensor of edges: the axis of the neurons that they lead to, and of those that they come from."""
    groups: Mapping[str, Axis] = field(repr=False)
    """For weights of convolutions in groups: all the channels that they take, group by group."""
    isolated: Mapping[str, str]
    """Parameters that belong to no neurons, and why: nothing is known of the function that takes them."""
    unknown: Mapping[str, tuple[str, ...]]
    """Functions that nothing is known of, and the modules that call them."""
    _number: Mapping[tuple[int, ...], int] = field(repr=False)
    _names: Mapping[int, str] = field(repr=False)

    @property
    def offsets(self) -> list[int]:
        """The number of each layer's first neuron in the graph."""
        return [sum(n.size for n in self.neurons[:i]) for i in range(len(self.neurons))]

    def without(self, prefix: str) -> NeuralGraph:
        """The same graph with a prefix taken from the names of tensors and neurons."""

        def cut(name: str) -> str:
            return name.removeprefix(prefix)

        neurons = tuple(replace(n, name=cut(n.name)) for n in self.neurons)
        return replace(
            self,
            neurons=neurons,
            hidden={cut(n): size for n, size in self.hidden.items()},
            axes={cut(n): axes for n, axes in self.axes.items()},
            flow={cut(n): ends for n, ends in self.flow.items()},
            groups={cut(n): axis for n, axis in self.groups.items()},
            isolated={cut(n): why for n, why in self.isolated.items()},
            unknown={f: tuple(map(cut, places)) for f, places in self.unknown.items()},
            _names={i: cut(n) for i, n in self._names.items()},
        )

    def permuted(self, state: Mapping[str, Tensor], order: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a model with hidden neurons in another order; the model computes the same.

        Args:
            state: Tensors by name, as ``model.state_dict()``.
            order: For the neurons of a name, which one stands at each place: a permutation.
        """
        self._check(order)
        found = {}
        for name, t in state.items():
            for i, axis in enumerate(self.axes.get(name, ())):
                t = t.index_select(i, self.order(axis, order))
            found[name] = t
        return found

    def _check(self, order: Mapping[str, Tensor]) -> None:
        for name, places in order.items():
            if name not in self.hidden:
                raise GraphError(f"{name!r} are no hidden neurons. There are: {', '.join(self.hidden) or 'none'}.")
            if sorted(places.tolist()) != list(range(self.hidden[name])):
                raise GraphError(f"the order of {name!r} is no permutation of 0 to {self.hidden[name] - 1}.")

    def order(self, axis: Axis, order: Mapping[str, Tensor]) -> Tensor:
        """Which place of an axis comes to stand at each, when neurons are put in another order."""
        axis = seen(axis)
        if isinstance(axis, Atom):
            return order.get(self._names.get(id(axis), ""), torch.arange(axis.size))
        parts = [self.order(part, order) for part in axis.parts]
        if isinstance(axis, Beside):
            starts = [sum(part.size for part in axis.parts[:i]) for i in range(len(parts))]
            return torch.cat([start + part for start, part in zip(starts, parts, strict=True)])
        place = parts[0]
        for part in parts[1:]:
            place = (place[:, None] * len(part) + part).flatten()
        return place

    def places(self, axis: Axis) -> Tensor:
        """The number of the neuron at each place of an axis; one channel at many positions is one neuron."""
        axis = seen(axis)
        if isinstance(axis, Beside):
            return torch.cat([self.places(part) for part in axis.parts])
        place = torch.zeros(1, dtype=torch.int64)
        parts = counted(axis)
        for part in axis.parts if isinstance(axis, Product) else (axis,):
            within = torch.arange(part.size) if part in parts else torch.zeros(part.size, dtype=torch.int64)
            place = (place[:, None] * (part.size if part in parts else 1) + within).flatten()
        return self.offsets[self._number[key(axis)]] + place

    def edges(self, state: Mapping[str, Tensor]) -> list[Edges]:
        """The weights as edges; several between two neurons (a kernel, positions) are one, their root mean square."""
        count = sum(n.size for n in self.neurons)
        found = []
        for name, (to, start) in self.flow.items():
            t = state[name].detach().double()
            target = self.places(self.axes[name][to])
            flat = (
                t.movedim((to, start), (0, 1)).flatten(2) if t.ndim > 2 else t.movedim((to, start), (0, 1))[..., None]
            )
            rows = self.places(self.groups.get(name, self.axes[name][start])).view(-1, t.shape[start])
            source = rows.repeat_interleave(len(target) // len(rows), 0)  # one row, unless in groups
            pair = (target[:, None] * count + source).flatten()
            keys, inverse, size = torch.unique(pair, return_inverse=True, return_counts=True)
            each = flat.shape[2]
            square = torch.zeros(len(keys), dtype=torch.float64).index_add_(0, inverse, flat.square().sum(2).flatten())
            value = (square / (size * each)).sqrt()
            if each == 1 and bool((size == 1).all()):
                value = torch.zeros(len(keys), dtype=torch.float64).index_add_(0, inverse, flat.flatten())
            found.append(Edges(name, keys % count, keys // count, value))
        return found

    def matrix(self, state: Mapping[str, Tensor]) -> Tensor:
        """All edges as one matrix (to, from) over the neurons, in float64; those of several tensors are added."""
        count = sum(n.size for n in self.neurons)
        found = torch.zeros(count, count, dtype=torch.float64)
        for edges in self.edges(state):
            found.index_put_((edges.to, edges.start), edges.value, accumulate=True)
        return found

    def text(self, axis: Axis) -> str:
        """An axis in words: names of what may be permuted, ``x`` between factors and ``|`` between parts."""
        axis = seen(axis)
        if isinstance(axis, Atom):
            return self._names.get(id(axis), str(axis.size))
        mark = " x " if isinstance(axis, Product) else " | "
        return f"({mark.join(self.text(part) for part in axis.parts)})"

    def __str__(self) -> str:
        lines = [f"{n.name}: {n.size} {n.kind}{f' ({n.why})' if n.kind == 'fixed' else ''}" for n in self.neurons]
        lines += [f"{name}: isolated ({why})" for name, why in self.isolated.items()]
        return "\n".join(lines)


def neural_graph(model: nn.Module, *inputs: Any) -> NeuralGraph:
    """The graph of a model's neurons, found by following one forward pass.

    Every call of a torch function is seen, inside modules and out of them, so any architecture will do that is made of
    linear, convolutional, normalisation, embedding, attention and recurrent layers and of what moves, adds, multiplies
    and reduces their outputs. Nothing is assumed of a function that is not known: the neurons that go in keep their
    places, and a parameter that it takes is isolated; both are named.

    Args:
        model: Any module. It is run in evaluation mode, and left as it was.
        inputs: What it is called with.

    Source: Kofinas et al. 2024, arXiv:2403.12143, and Lim et al. 2023, arXiv:2312.04501, for the idea: neurons as
    nodes, weights as edges.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> graph = neural_graph(model, torch.zeros(1, 4))
        >>> print(graph)
        0 from: 4 input
        0: 8 hidden
        2: 2 output
    """
    trace = Trace(model)
    trace.run(inputs)
    return _assembled(trace)


def counted(axis: Axis) -> tuple[Axis, ...]:
    """The parts of a factor that count neurons: all but positions, unless there are only positions."""
    parts = axis.parts if isinstance(axis, Product) else (axis,)
    return tuple(p for p in parts if not (isinstance(p, Atom) and p.fixed == "position")) or parts


def key(axis: Axis) -> tuple[int, ...]:
    """What tells the neurons of one layer from those of another."""
    return tuple(id(atom) for part in counted(axis) for atom in atoms(part))


def units(axis: Axis) -> Iterator[Axis]:
    """The layers along an axis, one after the other."""
    axis = seen(axis)
    if isinstance(axis, Beside):
        for part in axis.parts:
            yield from units(part)
    else:
        yield axis


class Assembly:
    """Neurons, as they are met tensor by tensor."""

    def __init__(self) -> None:
        self.neurons: dict[tuple[int, ...], Neurons] = {}
        self.names: dict[int, str] = {}
        self.hidden: dict[str, int] = {}

    def take(self, tensor: str, axis: Axis, source: bool) -> None:
        """The neurons along an axis, those among them that were not met yet under a new name."""
        owner = tensor.rpartition(".")[0] or tensor
        for unit in units(axis):
            if key(unit) in self.neurons:
                continue
            name = base = f"{owner} from" if source else owner
            taken, n = {other.name for other in self.neurons.values()}, 2
            while name in taken:
                name, n = f"{base} {n}", n + 1
            inside = [atom for part in counted(unit) for atom in atoms(part)]
            why = next((atom.fixed for atom in inside if atom.fixed), "")
            kinds: dict[str, Kind] = {"": "hidden", "input": "input", "output": "output"}
            free = any(not atom.fixed for atom in inside)
            kind: Kind = "hidden" if free else kinds.get(why, "fixed")
            size = math.prod(part.size for part in counted(unit))
            self.neurons[key(unit)] = Neurons(name, size, kind, "" if free else why)
            for i, atom in enumerate(inside):
                if not atom.fixed and atom.size > 1 and id(atom) not in self.names:
                    self.names[id(atom)] = own = name if len(inside) == 1 else f"{name}[{i}]"
                    self.hidden[own] = atom.size


def _assembled(trace: Trace) -> NeuralGraph:
    named = [*trace.model.named_parameters(remove_duplicate=False), *trace.model.named_buffers(remove_duplicate=False)]
    tensors = {id(t): t for _, t in named}
    met = [*(i for i in trace.used if i in tensors), *(i for i in tensors if i not in trace.used)]
    parameters = {id(p) for p in trace.model.parameters()}
    isolated = {
        trace.own[i]: f"{trace.used[i]} is not known" if i in trace.used else "no part of the forward pass"
        for i in met
        if i in parameters and trace.used.get(i, "unused")
    }
    assembly = Assembly()
    groups = {trace.own[i]: seen(axis) for i, axis in trace.groups.items() if i in trace.own}
    flow, found = {}, dict[int, tuple[Axis, ...]]()
    for i in met:
        name = trace.own[i]
        if name in isolated or not tensors[i].ndim:
            continue
        found[i] = tuple(seen(axis) for axis in trace.axes[i][1])
        if i in trace.flow:
            flow[name] = to, start = trace.flow[i]
            assembly.take(name, groups.get(name, found[i][start]), source=True)
            assembly.take(name, found[i][to], source=False)
        elif i in parameters:
            for axis in found[i]:
                if (axis.size > 1 and any(not atom.fixed for atom in atoms(axis))) or len(found[i]) == 1:
                    assembly.take(name, axis, source=False)
    axes = {name: found[id(t)] for name, t in named if id(t) in found}
    into, out_of = (
        {k for name, ends in flow.items() for k in map(key, units(axes[name][ends[side]]))} for side in (0, 1)
    )
    for k, n in assembly.neurons.items():
        if n.size == 1 and n.kind == "hidden" and not (k in into and k in out_of):  # one neuron is never followed far
            assembly.neurons[k] = replace(n, kind="output" if k in into else "input")
    unknown = {name: tuple(places) for name, places in trace.unknown.items()}
    number = {k: n for n, k in enumerate(assembly.neurons)}
    neurons = tuple(assembly.neurons.values())
    return NeuralGraph(neurons, assembly.hidden, axes, flow, groups, isolated, unknown, number, assembly.names)


def random_orders(graph: NeuralGraph, seed: int = 0) -> dict[str, Tensor]:
    """A random permutation of all hidden neurons."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randperm(size, generator=generator) for name, size in graph.hidden.items()}
