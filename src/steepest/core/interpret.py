"""Run a traced rule with torch's own operators, a block of entries at a time, in buffers that are used again and again.

What a compiled kernel does entry by entry this does operation by operation, over blocks small enough to stay in cache and
without allocating: the way to go where no compiler is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.executors.exact import sqrt as exact_sqrt
from steepest.core.trace import Program


def _sqrt(x: Tensor, *, out: Tensor) -> None:
    if x.device.type == "cpu":
        np.sqrt(x.numpy(), out=out.numpy())
    else:
        torch.sqrt(x, out=out)


def _function(op: str) -> Callable[..., Any]:
    return _sqrt if op == "sqrt" else getattr(torch, op)


SCALAR: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


class Interpreter:
    """A program with its registers planned: each result goes where a value that nobody needs any more was.

    Args:
        program: The traced step or measure.
        dtype: Precision of the calculation.
        size: Entries of a block.
        device: Where the blocks live.
        inputs: Types of the tensors ``p, g, s0, ...``; what has another type than ``dtype`` is converted block by block.
    """

    def __init__(
        self, program: Program, dtype: torch.dtype, size: int, device: torch.device, inputs: Sequence[torch.dtype]
    ) -> None:
        self.program = program
        self.dtype = dtype
        self.size = size
        self.order = ["p", "g", *(f"s{i}" for i in range(program.states))]
        self.stored = dict(zip(self.order, inputs, strict=True))
        self._plan(device)

    def _plan(self, device: torch.device) -> None:
        nodes = self.program.nodes
        needed: set[int] = set()
        todo = [i for _, i in self.program.outputs]
        while todo:
            i = todo.pop()
            if i not in needed:
                needed.add(i)
                todo.extend(nodes[i].args)
        last = {a: i for i in sorted(needed) for a in nodes[i].args}
        kept = {i for _, i in self.program.outputs}
        read = {str(nodes[i].value): last.get(i, i) for i in needed if nodes[i].op == "input"}
        # a result whose tensor nobody reads any more is written there at once
        self.direct = {
            i: name
            for name, i in self.program.outputs
            if name in self.stored and self.stored[name] == self.dtype and nodes[i].args and read.get(name, 0) <= i
        }
        free: dict[bool, list[Tensor]] = {False: [], True: []}
        self.registers: dict[int, Tensor] = {}
        self.scalars: list[int] = []
        self.instructions: list[int] = []
        for i in sorted(needed):
            node = nodes[i]
            if node.sort == "scalar":
                self.scalars.append(i)
                continue
            truth = node.sort == "truth"
            if i not in self.direct and not (node.op == "input" and self.stored[str(node.value)] == self.dtype):
                dtype = torch.bool if truth else self.dtype
                spare = free[truth]
                self.registers[i] = spare.pop() if spare else torch.empty(self.size, dtype=dtype, device=device)
            self.instructions.append(i)
            for a in set(node.args):
                if last[a] == i and a not in kept and a in self.registers:
                    free[nodes[a].sort == "truth"].append(self.registers[a])

    def numbers(self, k: Sequence[float]) -> dict[int, float]:
        """Every number of the program, in float64, from this step's scalars."""
        values: dict[int, float] = {}
        for i in self.scalars:
            node = self.program.nodes[i]
            if node.op == "const":
                values[i] = float(node.value)  # type: ignore[arg-type]
            elif node.op == "input":
                values[i] = k[int(str(node.value)[1:])]
            elif node.op in SCALAR:
                values[i] = SCALAR[node.op](*(values[a] for a in node.args))
            else:
                args = [torch.tensor(values[a], dtype=torch.float64) for a in node.args]
                values[i] = float(exact_sqrt(*args) if node.op == "sqrt" else _function(node.op)(*args))
        return values

    def run(self, columns: Sequence[Tensor], numbers: dict[int, float]) -> dict[str, Tensor | float]:
        """Evaluate one block (vectors ``p, g, s0, ...`` of at most ``size`` entries); returns the outputs by name."""
        n = columns[0].numel()
        where = dict(zip(self.order, columns, strict=True))
        values: dict[int, Any] = dict(numbers)
        for i in self.instructions:
            node = self.program.nodes[i]
            if node.op == "input":
                source = where[str(node.value)]
                values[i] = self.registers[i][:n].copy_(source) if i in self.registers else source
                continue
            out = where[self.direct[i]] if i in self.direct else self.registers[i][:n]
            args = [values[a] for a in node.args]
            if not _scalars_fit(node.op, args):
                args = [a if isinstance(a, Tensor) else torch.tensor(a, dtype=self._wide(args), device=out.device) for a in args]
            _function(node.op)(*args, out=out)
            values[i] = out
        return {name: values[i] for name, i in self.program.outputs}

    def _wide(self, args: Sequence[Any]) -> torch.dtype:
        """Numbers that only meet numbers stay float64, the others are rounded to the tensors' type."""
        return self.dtype if any(isinstance(a, Tensor) for a in args) else torch.float64


def _scalars_fit(op: str, args: Sequence[Any]) -> bool:
    """Whether torch takes the numbers among the arguments as they are: only behind a tensor, and not everywhere."""
    if all(isinstance(a, Tensor) for a in args):
        return True
    return isinstance(args[0], Tensor) and op in ("add", "sub", "mul", "div", "pow", "lt", "le", "gt", "ge", "eq", "ne")
