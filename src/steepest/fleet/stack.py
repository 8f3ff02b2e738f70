"""Models of one shape as one: each parameter and buffer of all members in one tensor, of which the models hold rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

import steepest.fleet.layers  # noqa: F401 - fills the table of lowered functions
from steepest.core.errors import SteepestError
from steepest.fleet.lowering import lowering
from steepest.fleet.tape import Recorder, Take, Tape, Trace, Unfit, same_bits

Loss = Callable[[nn.Module, Any], Tensor]


class StackError(SteepestError, ValueError):
    """Members that cannot be trained as one stack; the message says which, and why."""


class _Whole(nn.Module):
    """A model and what is computed with it, as one module, so that all its tensors can be given from outside."""

    def __init__(self, model: nn.Module, compute: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.model = model
        self.compute = compute

    def forward(self, batch: Any) -> Any:
        return self.compute(self.model, batch)


class Stack:
    """The tensors of K models, and their passes.

    The models stay usable one by one: their parameters and buffers are rows of the stacked tensors, so what one side
    writes the other sees.

    Args:
        models: One of each member, alike in structure, shapes and modes.
        generators: Where each member's random numbers come from.

    >>> models = [nn.Linear(3, 1) for _ in range(4)]
    >>> stack = Stack(models, [torch.Generator() for _ in models])
    >>> loss = lambda model, batch: model(batch).square().mean()
    >>> losses, gradients = stack.gradients(loss, torch.ones(4, 5, 3))
    >>> losses.shape, gradients["weight"].shape
    (torch.Size([4]), torch.Size([4, 1, 3]))
    >>> with torch.no_grad():
    ...     stack.params["bias"] += 1
    >>> torch.equal(models[2].bias, stack.params["bias"][2])
    True
    """

    def __init__(self, models: Sequence[nn.Module], generators: Sequence[torch.Generator]) -> None:
        _check_alike(models)
        self.models = list(models)
        self.generators = list(generators)
        self.template = copy.deepcopy(models[0])
        self._modules = list(self.template.modules())
        self._wholes: dict[Any, _Whole] = {}
        self._takes: dict[Any, Take] = {}
        self.trained = [name for name, p in models[0].named_parameters() if p.requires_grad]
        self.params: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        self._gather(range(len(models)))

    def __len__(self) -> int:
        return len(self.models)

    @torch.no_grad()
    def _gather(self, rows: Sequence[int]) -> None:
        """Stack the members at ``rows`` anew, and point their models at the new rows."""
        self._takes.clear()
        models = [self.models[row] for row in rows]
        self.generators = [self.generators[row] for row in rows]
        for mine, named in ((self.params, "named_parameters"), (self.buffers, "named_buffers")):
            columns = zip(*(getattr(model, named)() for model in models), strict=True)
            for column in columns:
                name, first = column[0]
                whole = torch.stack([t.detach() for _, t in column])
                for (_, t), row in zip(column, whole.unbind(), strict=True):
                    t.data = row
                mine[name] = whole.requires_grad_(first.requires_grad)
        self.models = models

    @torch.no_grad()
    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the members; the others get tensors of their own."""
        for row in set(range(len(self))) - set(rows):
            for t in (*self.models[row].parameters(), *self.models[row].buffers()):
                t.data = t.data.clone()
        self._gather(rows)

    @torch.no_grad()
    def copy(self, source: int, target: int) -> None:
        """Make one member's weights and buffers those of another."""
        for whole in (*self.params.values(), *self.buffers.values()):
            whole[target] = whole[source]

    def compute(self, function: Callable[[nn.Module, Any], Any], batch: Any, *, shared: bool = False) -> Any:
        """``function(model, batch)`` for every member, outputs stacked; ``shared``: one batch for all of them."""
        whole = self._wholes.get(function)
        if whole is None:
            whole = self._wholes[function] = _Whole(self.template, function)
        tensors = {f"model.{name}": t for name, t in (*self.params.items(), *self.buffers.items())}
        leaves, form = pytree.tree_flatten(batch)
        places = tuple(0 if isinstance(leaf, Tensor) and not shared else None for leaf in leaves)

        def one(own: dict[str, Tensor], *leaves: Any) -> Any:
            return functional_call(whole, own, (pytree.tree_unflatten(leaves, form),))

        with lowering(len(self), self.generators):
            return torch.vmap(one, in_dims=(0, *places), randomness="error")(tensors, *leaves)

    def gradients(self, loss: Loss, batch: Any) -> tuple[Tensor, dict[str, Tensor | None]]:
        """The members' losses, and the gradient of each stacked parameter (None where a loss does not depend on it).

        What comes out holds until the next call. The third pass on batches of a form is played from a
        :class:`~steepest.fleet.tape.Tape` of the second where that gives the same to the bit, and so are those after.
        """
        leaves, form = pytree.tree_flatten(batch)
        inputs = [x for x in leaves if isinstance(x, Tensor)]
        seen = [(x.shape, x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves]
        key = (loss, repr(form), repr(seen), tuple(module.training for module in self._modules))
        take = self._takes.get(key)
        if take is None:
            self._takes[key] = Take()
        elif take.tape is not None and take.proven:
            found: tuple[Tensor, list[Tensor | None]] = take.tape(inputs)
            return found[0], dict(zip(self.trained, found[1], strict=True))
        elif take.tape is not None:
            return self._proven(take, loss, batch, inputs)
        elif take.fit:
            return self._recorded(take, loss, batch, inputs)
        return self._pass(loss, batch)

    def _pass(self, loss: Loss, batch: Any) -> tuple[Tensor, dict[str, Tensor | None]]:
        with torch.enable_grad():
            losses: Tensor = self.compute(loss, batch)
        inputs = [self.params[name] for name in self.trained]
        found = torch.autograd.grad(losses, inputs, torch.ones_like(losses), allow_unused=True)
        ready = [g if g is None or g.is_contiguous() else g.contiguous() for g in found]
        return losses.detach(), dict(zip(self.trained, ready, strict=True))

    def _recorded(
        self, take: Take, loss: Loss, batch: Any, inputs: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        """A pass that is written down too."""
        before = Trace(self.template)
        with Recorder() as recorder:
            losses, gradients = self._pass(loss, batch)
        take.fit = False
        if before == Trace(self.template):
            with suppress(Unfit):
                take.tape = Tape(inputs, (losses, list(gradients.values())), recorder.calls)
        # what the tape holds is written anew at its next turn
        return losses.clone(), {name: None if g is None else g.clone() for name, g in gradients.items()}

    def _proven(
        self, take: Take, loss: Loss, batch: Any, inputs: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        """A pass both ways, from the same buffers and random numbers: the tape stays if all is the same to the bit."""
        assert take.tape is not None
        held = [b.clone() for b in self.buffers.values()]
        states = [generator.get_state() for generator in self.generators]
        losses, gradients = take.tape(inputs)
        ours = [x.clone() for x in (losses, *gradients, *self.buffers.values()) if x is not None]
        with torch.no_grad():
            for b, past in zip(self.buffers.values(), held, strict=True):
                b.copy_(past)
        after = [generator.get_state() for generator in self.generators]
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)
        found = self._pass(loss, batch)
        theirs = [x for x in (found[0], *found[1].values(), *self.buffers.values()) if x is not None]
        drawn = [generator.get_state() for generator in self.generators]
        take.proven = all(map(same_bits, (*ours, *after), (*theirs, *drawn)))
        if not take.proven:
            take.tape = None
        return found


def _check_alike(models: Sequence[nn.Module]) -> None:
    def shape(model: nn.Module) -> dict[str, Any]:
        kinds = ((model.named_parameters(), "parameter"), (model.named_buffers(), "buffer"))
        return {n: (kind, tuple(t.shape), t.dtype, t.requires_grad) for named, kind in kinds for n, t in named}

    first = shape(models[0])
    for number, model in enumerate(models[1:], 1):
        own = shape(model)
        if own == first:
            continue
        name = next(n for n in (*first, *own) if own.get(n) != first.get(n))
        said = [f"{d[name][1]} in {str(d[name][2])[6:]}" if name in d else "none" for d in (first, own)]
        raise StackError(
            f"members of a stack need models of one shape: {name!r} is {said[0]} in member 0 and {said[1]} in member "
            f"{number}. Put members of different shapes into different fleets."
        )
