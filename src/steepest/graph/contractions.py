"""What layers do to axes: sums over the neurons of one axis, with weights that join them to those of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from steepest.graph.axes import Atom, Axis, Beside, beside, cut, divide, fix, product, seen, unify
from steepest.graph.trace import Call, rule, tensors_in


def _optional(*given: Any) -> list[Tensor]:
    return [t for t in given if isinstance(t, Tensor)]


@rule("linear")
def linear(call: Call) -> bool | None:
    """X W^T + b."""
    x, weight, bias = call.get(0, "input"), call.get(1, "weight"), call.get(2, "bias")
    if weight.ndim != 2:
        return False
    out, inner = call.of(weight)
    unify(call.of(x)[-1], inner)
    for b in _optional(bias):
        unify(call.of(b)[0], out)
    call.edges(weight, 0, 1)
    return call.give([*call.of(x)[:-1], seen(out)])


@rule("matmul", "mm", "bmm", "mv", "dot", "rmatmul")
def matmul(call: Call) -> bool | None:
    """A product over the last axis of one and the last but one of the other."""
    a, b = call.args[:2] if call.name != "rmatmul" else call.args[1::-1]
    left, right = call.of(a), call.of(b)
    unify(left[-1], right[-2] if b.ndim > 1 else right[-1])
    for t, to, start in ((a, a.ndim - 2, a.ndim - 1), (b, b.ndim - 1, b.ndim - 2)):
        if t.ndim == 2:
            call.edges(t, to, start)
    batch: list[Axis] = [Atom(1) for _ in range(max(a.ndim, b.ndim) - 2)]
    for axes in (left[:-2], right[:-2]):
        _meet(batch, axes)
    ends = [*([left[-2]] if a.ndim > 1 else []), *([right[-1]] if b.ndim > 1 else [])]
    return call.give([seen(axis) for axis in [*batch, *ends]])


def _meet(found: list[Axis], axes: Sequence[Axis]) -> None:
    """Put axes onto others from the right, as broadcasting does."""
    for i, axis in enumerate(reversed(axes), 1):
        if axis.size > 1 and found[-i].size > 1:
            unify(found[-i], axis)
        elif axis.size > 1:
            found[-i] = axis


@rule("addmm", "baddbmm", "addbmm")
def addmm(call: Call) -> bool | None:
    """A shift and a product."""
    shift, a, b = call.args[:3]
    inner = Call(call.trace, "matmul", (a, b), {}, call.out)
    if matmul(inner) is False:
        return False
    found = call.of(call.out)
    _meet(found, call.of(shift))
    return call.give([seen(axis) for axis in found])


@rule("einsum")
def einsum(call: Call) -> bool | None:
    """Axes of one letter hold the same neurons."""
    equation, operands = call.args[0], call.args[1:]
    if not isinstance(equation, str) or "..." in equation:
        return False
    operands = operands[0] if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else operands
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    letters: dict[str, Axis] = {}
    for term, t in zip(inputs.split(","), operands, strict=True):
        for letter, axis in zip(term, call.of(t), strict=True):
            unify(letters.setdefault(letter, axis), axis)
        if t.ndim == 2 and arrow:
            to = 0 if term[0] in output else 1
            call.edges(t, to, 1 - to)
    return call.give([seen(letters[letter]) for letter in output]) if arrow else False


def _space(call: Call, start: int) -> list[Axis]:
    return [Atom(n, "position") for n in call.out.shape[start:]]


@rule("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def convolution(call: Call) -> bool | None:
    """Channels of the input to channels of the output, each position of the kernel with a weight of its own."""
    x, weight, bias = call.get(0, "input"), call.get(1, "weight"), call.get(2, "bias")
    back = "transpose" in call.name
    groups = call.get(6, "groups", 1)
    before = x.ndim - weight.ndim + 2 - 1  # 1 with a batch, else 0
    channels = call.of(x)[before]
    first, second = call.of(weight)[:2]
    for kernel in call.of(weight)[2:]:
        fix(kernel, "position")
    if groups == 1:
        inner, out = (first, second) if back else (second, first)
        unify(channels, inner)
    else:
        inside = cut(channels, [groups, channels.size // groups])
        own = cut(first, [groups, first.size // groups])
        if inside is None or own is None:
            return False
        unify(inside[0], own[0])
        unify(inside[1], own[1] if back else second)
        out = product([own[0], second]) if back else first
        call.trace.groups[id(weight)] = product(inside)
    for b in _optional(bias):
        unify(call.of(b)[0], out)
    if not (back and groups > 1):
        call.edges(weight, int(back), 1 - int(back))
    return call.give([*call.of(x)[:before], seen(out), *_space(call, before + 1)])


@rule(
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "lp_pool1d", "lp_pool2d", "interpolate", "upsample",
)  # fmt: skip
def pooling(call: Call) -> bool | None:
    """Channel by channel; positions become others."""
    x = call.get(0, "input")
    kernel = {"1": 1, "2": 2, "3": 3}.get(call.name.rpartition("pool")[2][:1], x.ndim - 2)
    if not isinstance(call.out, Tensor) or call.out.ndim != x.ndim:
        return False
    axes = call.of(x)
    for axis in axes[x.ndim - kernel :]:
        fix(axis, "position")
    return call.give([*axes[: x.ndim - kernel], *_space(call, x.ndim - kernel)])


@rule("pad")
def pad(call: Call) -> bool | None:
    """Axes that are padded are fixed."""
    axes = call.of(call.args[0])
    found = []
    for axis, n in zip(axes, call.out.shape, strict=True):
        if axis.size != n:
            fix(axis, "position")
        found.append(axis if axis.size == n else Atom(n, "position"))
    return call.give(found)


@rule("weight_norm")
def weight_norm(call: Call) -> bool | None:
    """A weight from its direction and its norms along one axis."""
    v, g = call.args[:2]
    for axis, own in zip(call.of(v), call.of(g), strict=True):
        if own.size > 1:
            unify(axis, own)
    call.trace.made_of[id(call.out)] = id(v)
    return call.give(call.of(v))


@rule("batch_norm", "instance_norm")
def batch_norm(call: Call) -> bool | None:
    """A scale and a shift for each channel."""
    x = call.get(0, "input")
    channels = call.of(x)[1]
    for t in call.tensors[1:]:
        unify(call.of(t)[0], channels)
    return call.give(call.of(x))


@rule("group_norm")
def group_norm(call: Call) -> bool | None:
    """The same, over groups of channels: a channel stays among its own."""
    x, groups = call.get(0, "input"), call.get(1, "num_groups")
    channels = call.of(x)[1]
    if cut(channels, [groups, channels.size // groups]) is None:
        return False
    for t in call.tensors[1:]:
        unify(call.of(t)[0], channels)
    return call.give(call.of(x))


@rule("layer_norm", "rms_norm")
def layer_norm(call: Call) -> bool | None:
    """Over the last axes, with a scale and a shift for each entry."""
    x = call.get(0, "input")
    for t in call.tensors[1:]:
        for own, axis in zip(reversed(call.of(t)), reversed(call.of(x)), strict=False):
            unify(own, axis)
    return call.give(call.of(x))


@rule("embedding")
def embedding(call: Call) -> bool | None:
    """Rows of a table."""
    indices, table = call.get(0, "input"), call.get(1, "weight")
    symbols, features = call.of(table)
    fix(symbols, "input")
    call.edges(table, 1, 0)
    return call.give([*call.of(indices), features])


@rule("embedding_bag")
def embedding_bag(call: Call) -> bool | None:
    """Sums or means of rows of a table."""
    table = call.get(1, "weight")
    out = call.out[0] if isinstance(call.out, tuple) else call.out
    symbols, features = call.of(table)
    fix(symbols, "input")
    call.edges(table, 1, 0)
    for t in tensors_in(call.out):
        if t is not out:
            call.trace.keep(t, [Atom(n, "constant") for n in t.shape])
    return call.give([Atom(len(out), "input"), features], out)


@rule("glu")
def glu(call: Call) -> bool | None:
    """Half of an axis times a gate for each entry: the other half."""
    x, dim = call.args[0], call.get(1, "dim", -1) % call.args[0].ndim
    axes = call.of(x)
    halves = divide(axes[dim], [axes[dim].size // 2] * 2)
    if halves is None:
        return False
    unify(*halves)
    axes[dim] = seen(halves[0])
    return call.give(axes)


# -------------------------------------------------------------------------------------------------------- attention


@rule("scaled_dot_product_attention")
def attention(call: Call) -> bool | None:
    """Queries and keys are contracted, and so are the places of keys and values."""
    q, k, v = (call.of(call.get(i, name)) for i, name in enumerate(("query", "key", "value")))
    if any(a.size != b.size for a, b in zip(q[:-2], k[:-2], strict=False)) or call.kwargs.get("enable_gqa"):
        return False
    unify(q[-1], k[-1])
    unify(k[-2], v[-2])
    for other in (k, v):
        for a, b in zip(q[:-2], other[:-2], strict=True):
            unify(a, b)
    mask = call.get(3, "attn_mask")
    for t in _optional(mask):
        for axis, own in zip(reversed(call.of(t)), (k[-2], q[-2]), strict=False):
            if axis.size > 1:
                unify(axis, own)
        for axis in call.of(t)[:-2]:
            fix(axis, "mask")
    return call.give([seen(axis) for axis in [*q[:-1], v[-1]]])


@rule("multi_head_attention_forward")
def multi_head_attention(call: Call) -> bool | None:
    """Projections to heads, attention, and a projection back; a head's features may be permuted, the same in each."""
    names = (
        "query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias", "bias_k",
        "bias_v", "add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias",
    )  # fmt: skip
    at = {name: call.get(i, name) for i, name in enumerate(names)}
    if call.kwargs.get("use_separate_proj_weight") or at["in_proj_weight"] is None or at["bias_k"] is not None:
        return False
    embed = at["out_proj_weight"].shape[0]
    heads = at["num_heads"]
    joined, inner = call.of(at["in_proj_weight"])
    head, key, value = Atom(heads), Atom(embed // heads), Atom(embed // heads)
    unify(joined, Beside((product([head, key]), product([head, key]), product([head, value]))))
    for name in ("query", "key", "value"):
        unify(call.of(at[name])[-1], inner)
    for t in _optional(at["in_proj_bias"]):
        unify(call.of(t)[0], joined)
    out, features = call.of(at["out_proj_weight"])
    unify(features, product([head, value]))
    for t in _optional(at["out_proj_bias"]):
        unify(call.of(t)[0], out)
    call.edges(at["in_proj_weight"], 0, 1)
    call.edges(at["out_proj_weight"], 0, 1)
    result, weights = call.out
    if isinstance(weights, Tensor):
        call.trace.keep(weights, [Atom(n, "position") for n in weights.shape])
    return call.give([*call.of(at["query"])[:-1], seen(out)], result)


# -------------------------------------------------------------------------------------------------------- recurrence

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _gates(axis: Axis, hidden: Axis, gates: int) -> None:
    """The gates of a cell, one after the other, each with the cell's own neurons."""
    unify(axis, beside([hidden] * gates) if gates > 1 else hidden)


def _cell(call: Call, weights: Sequence[Tensor], inner: Axis, gates: int, hidden: Axis) -> None:
    """The weights (from the input, from itself) and biases of one cell."""
    first, second, *biases = weights
    for t, start in ((first, inner), (second, hidden)):
        _gates(call.of(t)[0], hidden, gates)
        unify(call.of(t)[1], start)
        call.edges(t, 0, 1)
    for t in biases:
        _gates(call.of(t)[0], hidden, gates)


@rule(*GATES)
def recurrent(call: Call) -> bool | None:
    """Layers of cells; those of a layer feed themselves and the next layer, in two directions if asked."""
    x, start, weights, has_biases, layers, _, _, two = call.args[:8]
    if not isinstance(weights, (tuple, list)):
        return False  # of packed sequences
    each = 4 if has_biases else 2
    directions = 2 if two else 1
    if len(weights) != each * layers * directions:
        return False  # with projections
    inner = call.of(x)[-1]
    size = weights[1].shape[1]
    cells: list[Axis] = []
    for layer in range(layers):
        row: list[Axis] = []
        for d in range(directions):
            hidden = Atom(size)
            own = weights[(layer * directions + d) * each :][:each]
            _cell(call, own, inner, GATES[call.name], hidden)
            row.append(hidden)
        cells += row
        inner = beside(row)
    for t in tensors_in(start):
        if id(t) not in call.trace.uniform:
            for cell in cells:
                unify(call.of(t)[-1], cell)
    for t in call.out[1:]:
        call.trace.layers[id(t)] = (t, cells)
    return call.give([*call.of(x)[:-1], seen(inner)], call.out[0])


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(call: Call) -> bool | None:
    """One step of a cell."""
    x, start, *weights = call.args
    hidden = Atom(weights[1].shape[1])
    _cell(call, _optional(*weights), call.of(x)[-1], GATES[call.name.removesuffix("_cell")], hidden)
    for t in tensors_in(start):
        unify(call.of(t)[-1], hidden)
    return all(call.give([*call.of(x)[:-1], seen(hidden)], out) for out in tensors_in(call.out))
