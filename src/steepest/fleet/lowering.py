"""A forward pass of many members at once: vmap, with the layers that cost most as one batched product each.

Inside ``torch.vmap`` a model sees tensors without the member dimension, so its code runs as it is. vmap's own rules
are general and in places slow; while a :class:`Lowering` is active, the functions in :data:`LOWERED` work on the
stacked tensors below it instead. Their gradients are ordinary autograd's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._C import _functorch as _f
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Lowered = Callable[..., Any]
"""``lowered(members, *args, **kwargs)`` in place of a torch function; ``NotImplemented``: leave it to vmap."""

LOWERED: dict[Any, Lowered] = {}
"""Which functions run on stacked tensors, filled by the modules of :mod:`steepest.fleet.layers`."""


def lowers(*functions: Any) -> Callable[[Lowered], Lowered]:
    """Make a function the stacked form of torch functions."""

    def keep(lowered: Lowered) -> Lowered:
        LOWERED.update(dict.fromkeys(functions, lowered))
        return lowered

    return keep


class Members:
    """The members of a pass: how many they are, and where each one's random numbers come from."""

    def __init__(self, count: int, generators: Sequence[torch.Generator]) -> None:
        self.count = count
        self.generators = generators
        self.level = 0

    def stacked(self, x: Any) -> bool:
        """Whether a value differs between members."""
        return isinstance(x, Tensor) and _f.is_batchedtensor(x) and _f.maybe_get_level(x) == self.level

    def plain(self, x: Any) -> bool:
        """Whether a value is an ordinary tensor, the same for all members (or no tensor)."""
        return not (isinstance(x, Tensor) and _f.is_functorch_wrapped_tensor(x))

    def known(self, *values: Any) -> bool:
        """Whether all tensors are stacked here or the same for all."""
        return all(self.stacked(x) or self.plain(x) for x in values)

    def bare(self, x: Tensor, dim: int = 0) -> Tensor:
        """The tensor of all members, their dimension at ``dim``; one that all share is expanded."""
        if not self.stacked(x):
            shape = list(x.shape)
            shape.insert(dim, self.count)
            return x.unsqueeze(dim).expand(shape)
        at = _f.maybe_get_bdim(x)
        whole = _f.get_unwrapped(x)
        return whole if at == dim else whole.movedim(at, dim)

    def at(self, x: Tensor) -> int:
        """Where the member dimension lies in memory; -1 where there is none."""
        return int(_f.maybe_get_bdim(x)) if self.stacked(x) else -1

    def hide(self, whole: Tensor, dim: int = 0) -> Tensor:
        """As the model sees it: without the member dimension."""
        hidden: Tensor = _f._add_batch_dim(whole, dim, self.level)
        return hidden


class Lowering(TorchFunctionMode):
    """While it is active, stacked forms take the place of torch functions, and random numbers are each member's own."""

    _bodies: ClassVar[dict[Any, Any]] = {}

    def __init__(self, members: Members) -> None:
        super().__init__()
        self.members = members

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        lowered = LOWERED.get(func)
        if lowered is not None:
            self.members.level = _f.maybe_current_level() or 0
            with temporarily_pop_interpreter_stack():
                out = lowered(self.members, *args, **kwargs)
            if out is not NotImplemented:
                return out
        if isinstance(func, FunctionType) and func.__globals__ is vars(F):
            with self:  # what it calls is lowered in turn
                return self._body(func)(*args, **kwargs)
        return func(*args, **kwargs)

    def _body(self, func: FunctionType) -> Any:
        """A Python function of torch without the check that would lead back here."""
        body = self._bodies.get(func)
        if body is None:
            unseen = {name: _unseen for name in func.__globals__ if name.startswith("has_torch_function")}
            body = FunctionType(
                func.__code__, {**func.__globals__, **unseen}, func.__name__, func.__defaults__, func.__closure__
            )
            body.__kwdefaults__ = func.__kwdefaults__
            self._bodies[func] = body
        return body


def _unseen(*_: Any) -> bool:
    return False


@contextmanager
def lowering(count: int, generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Inside, a pass under vmap over ``count`` members runs lowered."""
    with Lowering(Members(count, generators)):
        yield
