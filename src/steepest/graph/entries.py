"""What functions do to axes that work entry by entry, reduce, or only move entries about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from steepest.graph.axes import Atom, Axis, beside, cut, divide, fix, product, seen, unify
from steepest.graph.trace import Call, rule, tensors_in, words

ENTRYWISE = words(
    """relu gelu silu tanh sigmoid softmax log_softmax softmin dropout dropout1d dropout2d dropout3d
    alpha_dropout feature_dropout feature_alpha_dropout leaky_relu elu selu celu softplus softsign hardtanh
    relu6 hardswish hardsigmoid mish logsigmoid tanhshrink softshrink hardshrink threshold exp exp2 expm1
    log log2 log10 log1p sqrt rsqrt square pow abs neg sign clamp clip clamp_min clamp_max reciprocal sin
    cos tan atan atan2 sinh cosh erf erfc floor ceil round trunc nan_to_num contiguous clone detach to type
    float double half bfloat16 int long bool type_as cpu cuda alias data add sub mul div radd rsub rmul rdiv
    iadd isub imul itruediv truediv rtruediv floordiv mod remainder fmod rpow maximum minimum fmax fmin
    where lerp addcmul addcdiv masked_fill eq ne lt le gt ge logical_and logical_or logical_not and or xor
    invert isfinite isnan isinf bitwise_not normalize ipow heaviside copysign hypot positive subtract
    multiply divide true_divide negative absolute sgn xlogy native_dropout zero fill"""
)
REDUCTIONS = words(
    """sum mean amax amin max min std var norm logsumexp prod all any nansum nanmean vector_norm linalg_vector_norm
    median"""
)
RESHAPES = words("view reshape flatten unflatten squeeze unsqueeze view_as reshape_as ravel")
UNIFORM = words("zeros ones full empty zeros_like ones_like full_like new_zeros new_ones new_full")


@rule(*ENTRYWISE)
def entrywise(call: Call) -> bool | None:
    """Every entry from the same entry of the others; a softmax along an axis does not mind in which order it comes."""
    if not isinstance(call.out, Tensor):
        return False
    inputs = [t for t in call.tensors if t is not call.kwargs.get("out")]
    weights = [t for t in inputs if id(t) in call.trace.own and t.shape == call.out.shape and t.ndim > 1]
    if len(weights) == 1:  # a weight that is made of a parameter has its edges
        call.trace.made_of[id(call.out)] = id(weights[0])
    return call.give(call.trace.broadcast(inputs)) if inputs else False


@rule(*UNIFORM)
def uniform(call: Call) -> bool | None:
    """One number everywhere: its entries may be in any order."""
    call.trace.uniform.add(id(call.out))
    return call.give([Atom(n) for n in call.out.shape])


def _dims(call: Call, ndim: int, place: int = 1) -> list[int] | None:
    given = call.get(place, "dim", call.kwargs.get("axis"))
    if given is None:
        return list(range(ndim))
    if isinstance(given, bool) or not isinstance(given, (int, tuple, list)):
        return None
    return [d % ndim for d in ([given] if isinstance(given, int) else given)]


@rule(*REDUCTIONS)
def reduction(call: Call) -> bool | None:
    """A number for many, whatever their order."""
    x = call.args[0]
    second = call.get(1, "other")
    if isinstance(second, Tensor):
        return entrywise(call)
    place = 2 if call.name in ("norm", "vector_norm", "linalg_vector_norm") else 1
    dims = _dims(call, x.ndim, place)
    if dims is None:
        return False
    axes = call.of(x)
    for out in tensors_in(call.out):
        kept = [axis for i, axis in enumerate(axes) if i not in dims]
        if out.ndim == x.ndim:
            kept = [Atom(1) if i in dims else axis for i, axis in enumerate(axes)]
        if not call.give(kept, out):
            return False
    if not isinstance(call.out, Tensor):  # which one it was depends on their order
        for d in dims:
            fix(axes[d], f"{call.name} says which")
    return None


@rule(
    "argmax",
    "argmin",
    "cumsum",
    "cumprod",
    "flip",
    "roll",
    "tril",
    "triu",
    "sort",
    "topk",
    "argsort",
    "diff",
    "cummax",
    "logcumsumexp",
)
def ordered(call: Call) -> bool | None:
    """What depends on the order along an axis: that axis is fixed, the others are as they were."""
    x = call.args[0]
    dim = call.get(2 if call.name in ("topk", "roll") else 1, "dim", call.kwargs.get("dims", -1))
    dim = (-2, -1) if call.name in ("tril", "triu") else dim
    dims = [d % x.ndim for d in ([dim] if isinstance(dim, int) else dim)] if dim is not None else range(x.ndim)
    axes = call.of(x)
    for d in dims:
        fix(axes[d], f"{call.name} goes by place")
    for out in tensors_in(call.out):
        if out.ndim == x.ndim:
            kept = [
                a if a.size == n else Atom(n, f"{call.name} goes by place")
                for a, n in zip(axes, out.shape, strict=True)
            ]
        else:
            kept = [axis for i, axis in enumerate(axes) if i not in dims]
        if not call.give(kept, out):
            return False
    return None


# ----------------------------------------------------------------------------------------------------------- moving


@rule(*RESHAPES)
def reshape(call: Call) -> bool | None:
    """Axes are joined and taken apart, the last changing fastest."""
    axes = call.of(call.args[0])
    shape = list(call.out.shape)
    parts = cut(product(axes), shape) if 0 not in shape else None
    if parts is None:
        return False
    old = {i: axis for i, axis in enumerate(axes) if axis.size == 1}
    same = [axis.size for axis in axes] == shape  # keeps which axis a single neuron is on
    return call.give([old.get(i, part) if same else part for i, part in enumerate(parts)])


@rule("transpose", "swapaxes", "swapdims", "permute", "t", "T", "mT", "movedim", "moveaxis", "adjoint", "H", "mH")
def transposed(call: Call) -> bool | None:
    """The same axes in another order."""
    x = call.args[0]
    if call.name in ("t", "T", "H"):
        order = list(range(x.ndim))[::-1]
    elif call.name in ("mT", "mH", "adjoint"):
        order = [*range(x.ndim - 2), x.ndim - 1, x.ndim - 2]
    elif call.name == "permute":
        given = call.args[1:] or (call.kwargs["dims"],)
        order = [d % x.ndim for d in (given[0] if isinstance(given[0], (tuple, list)) else given)]
    elif call.name in ("movedim", "moveaxis"):
        start, end = call.get(1, "source"), call.get(2, "destination")
        order = torch.empty(x.shape, device="meta").movedim(start, end).stride()  # type: ignore[assignment]
        strides = list(torch.empty(x.shape, device="meta").stride())
        if len(set(strides)) < len(strides):
            return False
        order = [strides.index(s) for s in order]
    else:
        a, b = (call.get(i, f"dim{i - 1}", call.kwargs.get(f"axis{i - 1}")) % x.ndim for i in (1, 2))
        order = list(range(x.ndim))
        order[a], order[b] = b, a
    axes = call.of(x)
    return call.give([axes[i] for i in order])


@rule("expand", "expand_as", "broadcast_to")
def expanded(call: Call) -> bool | None:
    """Repeated along an axis of size 1: the copies are alike, so their order is free."""
    axes = call.of(call.args[0])
    new = [Atom(n) for n in call.out.shape[: call.out.ndim - len(axes)]]
    old = [Atom(n) if axis.size == 1 < n else axis
           for axis, n in zip(axes, call.out.shape[len(new) :], strict=True)]  # fmt: skip
    return call.give([*new, *old])


@rule("repeat", "tile")
def repeated(call: Call) -> bool | None:
    """All of it again and again along some axes."""
    axes = call.of(call.args[0])
    axes = [*(Atom(1) for _ in range(call.out.ndim - len(axes))), *axes]
    return call.give([product([Atom(n // axis.size), axis]) if n != axis.size else axis
                      for axis, n in zip(axes, call.out.shape, strict=True)])  # fmt: skip


@rule("cat", "concat", "concatenate")
def concatenated(call: Call) -> bool | None:
    """One after the other along an axis; the other axes hold the same neurons."""
    parts = [t for t in call.get(0, "tensors") if t.numel()]
    dim = call.get(1, "dim", call.kwargs.get("axis", 0)) % call.out.ndim
    return call.give(_joined([call.of(t) for t in parts], dim, beside([call.of(t)[dim] for t in parts])))


@rule("stack")
def stacked(call: Call) -> bool | None:
    """Along a new axis, which is fixed."""
    parts = call.get(0, "tensors")
    dim = call.get(1, "dim", 0) % call.out.ndim
    rows = [[*axes[:dim], Atom(1), *axes[dim:]] for axes in map(call.of, parts)]
    return call.give(_joined(rows, dim, Atom(len(parts), "stacked")))


def _joined(rows: Sequence[Sequence[Axis]], dim: int, along: Axis) -> list[Axis]:
    found = list(rows[0])
    for axes in rows[1:]:
        for i, axis in enumerate(axes):
            if i != dim:
                unify(found[i], axis)
    found[dim] = along
    return [seen(axis) for axis in found]


@rule("chunk", "split", "split_with_sizes", "tensor_split", "unsafe_chunk", "unsafe_split")
def pieces(call: Call) -> bool | None:
    """Pieces along an axis."""
    x, dim = call.args[0], call.get(2, "dim", 0)
    if not isinstance(dim, int) or not call.out:
        return False
    dim %= x.ndim
    axes = call.of(x)
    found = divide(axes[dim], [out.shape[dim] for out in call.out])
    if found is None:
        return False
    return all(call.give([*axes[:dim], part, *axes[dim + 1 :]], out)
               for part, out in zip(found, call.out, strict=True))  # fmt: skip


@rule("unbind")
def unbound(call: Call) -> bool | None:
    """Slices along an axis, which goes; it is fixed, for each slice has a role of its own."""
    x = call.args[0]
    dim = call.get(1, "dim", 0) % x.ndim
    axes = call.of(x)
    return all(call.give(axes, out) for axes, out in zip(_slices(axes, dim, len(call.out)), call.out, strict=True))


def _slices(axes: Sequence[Axis], dim: int, count: int) -> list[list[Axis]]:
    fix(axes[dim], "taken one by one")
    return [[*axes[:dim], *axes[dim + 1 :]] for _ in range(count)]


@rule("getitem", "select", "narrow")
def indexed(call: Call) -> bool | None:
    """Whole numbers, slices and one tensor of indices; picked from, an axis is fixed; cut, it divides."""
    x = call.args[0]
    if call.name == "select":
        dim, at = call.get(1, "dim") % x.ndim, call.get(2, "index")
        key: Any = (*[slice(None)] * dim, at)
    elif call.name == "narrow":
        dim, start = call.get(1, "dim") % x.ndim, call.get(2, "start")
        key = (*[slice(None)] * dim, slice(start, start + call.get(3, "length")))
    else:
        key = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    if sum(isinstance(k, (Tensor, list)) for k in key) > 1 or any(isinstance(k, bool) for k in key):
        return False
    if any(isinstance(k, Tensor) and (k.dtype == torch.bool or k.is_floating_point()) for k in key):
        return False
    if id(x) in call.trace.layers and key and isinstance(key[0], int) and all(k == slice(None) for k in key[1:]):
        return call.give([*(Atom(n, "state") for n in x.shape[1:-1]), seen(call.trace.layers[id(x)][1][key[0]])])
    named = sum(k is not None and k is not Ellipsis for k in key)
    full = [slice(None)] * (x.ndim - named)
    at = next((i for i, k in enumerate(key) if k is Ellipsis), len(key))
    key = [*key[:at], *full, *key[at + 1 :]]
    axes, found = iter(call.of(x)), list[Axis]()
    for k in key:
        if k is None:
            found.append(Atom(1))
            continue
        axis = next(axes)
        if isinstance(k, int):
            fix(axis, "taken one by one")
        elif isinstance(k, slice):
            found.append(_sliced(axis, k))
        else:
            index = k if isinstance(k, Tensor) else torch.tensor(k)
            fix(axis, "looked up")
            found += call.of(index) if isinstance(k, Tensor) else [Atom(n, "looked up") for n in index.shape]
    return call.give(found)


def _sliced(axis: Axis, k: slice) -> Axis:
    start, stop, step = k.indices(axis.size)
    length = len(range(start, stop, step))
    if length == axis.size and step == 1:
        return axis
    sizes = [start, length, axis.size - start - length]
    if step == 1 and length and (parts := divide(axis, [n for n in sizes if n])) is not None:
        return parts[1 if start else 0]
    fix(axis, "cut")
    return Atom(length, "cut")


@rule("index_select", "gather", "take_along_dim")
def selected(call: Call) -> bool | None:
    """Places of one axis by a list of indices: it is fixed."""
    x, dim = call.args[0], call.get(1, "dim")
    if not isinstance(dim, int) or call.name != "index_select":
        return False
    axes = call.of(x)
    fix(axes[dim % x.ndim], "looked up")
    axes[dim % x.ndim] = Atom(call.out.shape[dim % x.ndim], "looked up")
    return call.give(axes)


@rule("index_add", "scatter_add", "scatter_reduce")
def scattered(call: Call) -> bool | None:
    """Rows are added where an index says; features of rows and of where they go are the same neurons."""
    x, dim, index, source = call.args[0], call.get(1, "dim"), call.get(2, "index"), call.get(3, "src")
    if source is None:
        source = call.kwargs.get("source")
    if not isinstance(source, Tensor) or not isinstance(dim, int):
        return False
    if index.ndim > 1 and not all(
        s == 0 for i, s in enumerate(index.stride()) if i != dim % x.ndim and index.shape[i] > 1
    ):
        return False  # each feature has an index of its own
    axes = call.of(x)
    for i, (axis, other) in enumerate(zip(axes, call.of(source), strict=True)):
        if i == dim % x.ndim:
            fix(axis, "scattered to")
            fix(other, "scattered")
        elif axis.size > 1:
            unify(axis, other)
    return call.give([seen(axis) for axis in axes])
