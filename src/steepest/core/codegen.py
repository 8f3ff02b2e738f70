"""Print a traced rule as a C++ loop over many tensors.

One function serves any number of tensors of any size: it walks a table of pointers in chunks, in one parallel region,
so neither the build time nor the dispatch cost depends on how many tensors a model has. Rounding is IEEE, operation by
operation (no contraction to fused multiply-adds), hence equal to the eager reference bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from steepest.core.trace import Node, Program

CHUNK = 16384
"""Entries a thread takes at a time: 64 KiB of float32, a few buffers of which fit a core's second-level cache."""

LANES = 32
"""Partial sums of a measured term: enough to hide the latency of an addition."""

GAUGE_LANES = 16
"""Of the three sums that an update is gauged by: what stays in registers beside the rule's own numbers."""

STORAGE = {"float32": "float", "float64": "double", "bfloat16": "bf16", "float16": "half"}

PRELUDE = """\
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
typedef int64_t i64;
struct bf16 { uint16_t bits; };
static inline float load(bf16 x) { uint32_t u = uint32_t(x.bits) << 16; float f; std::memcpy(&f, &u, 4); return f; }
static inline float load(float x) { return x; }
static inline double load(double x) { return x; }
template <class T> static inline T larger(T a, T b) { T x = a > b ? a : b; return a != a ? a : x; }
template <class T> static inline T smaller(T a, T b) { T x = a < b ? a : b; return a != a ? a : x; }
static inline void store(float* y, float x) { *y = x; }
static inline void store(double* y, double x) { *y = x; }
static inline void store(bf16* y, float x) {
  uint32_t u; std::memcpy(&u, &x, 4);
  y->bits = x != x ? 0x7fc0 : uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
"""
HALF = """\
typedef _Float16 half;
static inline float load(half x) { return float(x); }
static inline void store(half* y, float x) { *y = half(x); }
"""
FIND = """\
static inline i64 tensor_of(i64 c, const i64* start, i64 count) {
  i64 low = 0, high = count;
  while (low < high) { const i64 t = (low + high + 1) / 2; if (start[t] <= c) low = t; else high = t - 1; }
  return low;
}
"""

LOOP = """\
extern "C" void run(i64 count, const i64* table, const double* k, const i64* start, double* out, i64 threads) {{
  const i64 chunks = start[count];
  #pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (i64 c = 0; c < chunks; c++) {{
    const i64 t = tensor_of(c, start, count);
    const i64* row = table + t * {width};
    const i64 from = (c - start[t]) * {chunk};
    const i64 left = row[0] - from, len = left < {chunk} ? left : {chunk};
    body({call});
  }}
}}
"""

INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
}
CALLS = ("sqrt", "exp", "log", "expm1", "log1p", "sin", "cos", "tanh", "floor", "ceil", "pow", "atan2")


def expression(node: Node, args: Sequence[str], real: str) -> str:
    """One operation in C++; NaN behaves as in torch (maximum and minimum pass it on, sign makes it 0)."""
    if node.op in INFIX:
        return f"{args[0]} {INFIX[node.op]} {args[1]}"
    if node.op in CALLS:
        return f"std::{node.op}({', '.join(args)})"
    match node.op, list(args):
        case "neg", [x]:
            return f"-{x}"
        case "abs", [x]:
            return f"std::fabs({x})"
        case "sign", [x]:
            return f"{real}({x} > 0) - {real}({x} < 0)"
        case "maximum", [a, b]:
            return f"larger({a}, {b})"
        case "minimum", [a, b]:
            return f"smaller({a}, {b})"
        case "where", [c, a, b]:
            return f"{c} ? {a} : {b}"
        case "logical_and", [a, b]:
            return f"bool({a}) & bool({b})"
        case "logical_or", [a, b]:
            return f"bool({a}) | bool({b})"
        case "logical_not", [a]:
            return f"!{a}"
    raise NotImplementedError(f"no C++ for {node.op}")


def _number(x: float) -> str:
    if math.isfinite(x):
        return repr(x)
    return "NAN" if math.isnan(x) else "INFINITY" if x > 0 else "-INFINITY"


def body(
    program: Program, real: str, loads: Mapping[str, str] | None = None
) -> tuple[list[str], list[str], dict[int, str]]:
    """Statements before the loop (numbers, in double), inside it (one entry), and each node's name in the loop.

    ``loads`` says how tensors are read that are not kept as their type has it.
    """
    once: list[str] = []
    each: list[str] = []
    number: dict[int, str] = {}
    entry: dict[int, str] = {}

    def use(i: int) -> str:
        if i not in entry:  # a number met by a tensor: rounded once to the loop's type
            once.append(f"const {real} c{i} = ({real}){number[i]};")
            entry[i] = f"c{i}"
        return entry[i]

    for i, node in enumerate(program.nodes):
        if isinstance(node.value, float):
            number[i] = _number(node.value)
        elif node.op == "input" and node.sort == "scalar":
            number[i] = f"k[{str(node.value)[1:]}]"
        elif node.sort == "scalar":
            once.append(f"const double d{i} = {expression(node, [number[a] for a in node.args], 'double')};")
            number[i] = f"d{i}"
        else:
            exact = node.sort == "truth" and all(a in number for a in node.args)  # numbers compare as doubles
            args = [number[a] if exact else use(a) for a in node.args]
            name = str(node.value)
            read = (loads or {}).get(name, f"load({name}[i])")
            value = f"({real}){read}" if node.op == "input" else expression(node, args, real)
            each.append(f"const {'bool' if node.sort == 'truth' else real} x{i} = {value};")
            entry[i] = f"x{i}"
    for _, i in program.outputs:
        use(i)
    return once, each, entry


def sum_loops(each: Sequence[str], terms: Sequence[str], lanes: int = LANES) -> list[str]:
    """Sum terms in independent partial sums, so that no addition waits for the one before it."""
    sums = [f"a{j}" for j in range(len(terms))]
    return [
        *(f"double {a}[{lanes}] = {{0}};" for a in sums),
        "i64 from = 0;",
        f"for (; from + {lanes} <= n; from += {lanes}) {{",
        "  #pragma omp simd",
        f"  for (int lane = 0; lane < {lanes}; lane++) {{",
        "    const i64 i = from + lane;",
        *(f"    {line}" for line in each),
        *(f"    {a}[lane] += {term};" for a, term in zip(sums, terms, strict=True)),
        "  }",
        "}",
        "for (i64 i = from; i < n; i++) {",
        *(f"  {line}" for line in each),
        *(f"  {a}[i - from] += {term};" for a, term in zip(sums, terms, strict=True)),
        "}",
        *(f"for (int lane = 1; lane < {lanes}; lane++) {a}[0] += {a}[lane];" for a in sums),
        *(f"out[{j}] = {a}[0];" for j, a in enumerate(sums)),
    ]


def unused(program: Program) -> Program:
    """Drop the nodes that no output needs, so that nothing is loaded in vain."""
    kept = sorted(program.needed())
    place = {old: new for new, old in enumerate(kept)}
    nodes = tuple(
        Node(n.op, tuple(place[a] for a in n.args), n.sort, n.value) for n in (program.nodes[i] for i in kept)
    )
    return Program(nodes, tuple((name, place[i]) for name, i in program.outputs), program.states)


def names(program: Program) -> list[str]:
    """The tensors of a table row, in order."""
    return ["p", "g", *(f"s{i}" for i in range(program.states))]


def gauges(program: Program, storage: Mapping[str, str], entry: Mapping[int, str]) -> tuple[list[str], list[str]]:
    """Statements behind an update, and the terms to sum: squares of gradient, update and new weight, as kept."""
    name = dict(program.outputs).get("p")
    new = "w_old" if name is None else "(double)load(p[i])" if storage["p"] in ("bf16", "half") else entry[name]
    after = [f"const double w_new = {new}, w_u = w_old - w_new;"]
    return after, ["w_g * w_g", "w_u * w_u", "w_new * w_new"]


def source(program: Program, dtypes: Sequence[str], kind: Literal["update", "measure", "gauge"]) -> str:
    """C++ of a step (``"update"``), of sums over tensors (``"measure"``), or of a step with sums (``"gauge"``).

    A gauged step writes the same numbers as an update, and sums the squares of gradient, update and new weight.
    The table has one row a tensor: entries, offset of its scalars, then the pointers of ``p``, ``g`` and the states.
    ``start[j]`` is the first chunk of tensor ``j``. Sums are kept in float64, one partial sum a chunk and term.
    """
    program = unused(program)
    tensors = names(program)
    storage = dict(zip(tensors, (STORAGE[d] for d in dtypes), strict=True))
    real = "double" if kind == "measure" or "float64" in dtypes else "float"
    once, each, entry = body(program, real)
    written = [name for name, _ in program.outputs] if kind != "measure" else []
    gauged = ("p", "g") if kind == "gauge" else ()
    pointers = [t for t in tensors if t in written or t in gauged or any(n.value == t for n in program.nodes)]
    arguments = [f"{'' if t in written else 'const '}{storage[t]}* __restrict__ {t}" for t in pointers]
    call = [f"({storage[t]}*)row[{2 + tensors.index(t)}] + from" for t in pointers]
    if kind != "measure":
        if kind == "gauge":
            each = ["const double w_old = load(p[i]), w_g = load(g[i]);", *each]
        each += [
            f"store({name} + i, ({'double' if storage[name] == 'double' else 'float'}){entry[i]});"
            for name, i in program.outputs
        ]
        loops = ["#pragma omp simd", "for (i64 i = 0; i < n; i++) {", *(f"  {line}" for line in each), "}"]
    if kind == "gauge":
        after, terms = gauges(program, storage, entry)
        arguments.append("double* __restrict__ out")
        call.append(f"out + c * {len(terms)}")
        loops = sum_loops([*each, *after], terms, GAUGE_LANES)
    elif kind == "measure":
        arguments.append("double* out")
        call.append(f"out + c * {len(program.outputs)}")
        loops = sum_loops(each, [entry[i] for _, i in program.outputs])
    function = [
        f"static void body({', '.join([*arguments, 'i64 n', 'const double* k'])}) {{",
        *(f"  {line}" for line in (*once, *loops)),
        "}",
    ]
    loop = LOOP.format(width=2 + len(tensors), chunk=CHUNK, call=", ".join([*call, "len", "k + row[1]"]))
    half = HALF if "float16" in dtypes else ""
    return "\n".join([PRELUDE + half + FIND, *function, loop])
