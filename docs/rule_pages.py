"""One page a rule, made from its docstrings, a run on two landscapes and the measured speed."""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from steepest.core.about import about
from steepest.core.facts import facts
from steepest.core.piece import Kind
from steepest.core.rule import Rule
from steepest.rules import LearningRate, WeightDecay
from steepest.rules.families import FAMILIES

sys.path.insert(0, str(Path(__file__).parent))
import trajectory
from page_tables.markdown import inline, number
from page_tables.rules import rules

HERE = Path(__file__).parent

PAGES = HERE / "rules"
RATES = PAGES / "rates.json"
SECTION = re.compile(
    r"^(Args|Shapes|Units|Identity|Differs from|Source|Example|Needs|[A-Z][a-z]+(?: [a-z]+)?):", re.MULTILINE
)


def call(kind: Kind[..., Any]) -> str:
    """A kind with its defaults, as one would write it."""

    def show(x: Any) -> str:
        if isinstance(x, tuple):
            return f"({', '.join(map(show, x))})"
        return number(x) if isinstance(x, float) else repr(x)

    return f"{kind.name}({', '.join(f'{n}={show(p.default)}' for n, p in kind.signature.parameters.items())})"


def usual(kind: Kind[..., Any]) -> str:
    """The default learning rate and its usual range."""
    if "lr" not in kind.signature.parameters:
        return "none"
    default, between = number(kind.signature.parameters["lr"].default), about(kind).usual_lr
    if between is None:
        return default
    low, high = map(number, between)
    return f"{default} (usually {low} to {high})" if low != high else f"{default} (usually {low})"


def own_links(kind: Kind[..., Any]) -> list[type[Rule]]:
    """The classes that make this rule, without those that nearly all have."""
    return list(dict.fromkeys(type(link) for link in kind().build() if type(link) not in (LearningRate, WeightDecay)))


def maths(doc: str) -> str:
    """Blocks of ``.. math::`` between dollar signs."""

    def block(found: re.Match[str]) -> str:
        return f"$$\n{textwrap.dedent(found[1]).strip()}\n$$\n\n"

    return re.sub(r"^\.\. math::\n\n?((?:[ ]+\S.*\n|\n(?=[ ]))+)\n?", block, doc + "\n", flags=re.MULTILINE)


def example(cls: type[Rule], lines: str) -> str:
    """A docstring's example that runs on its own: with the imports that its names need."""
    module = vars(sys.modules[cls.__module__])
    code = textwrap.dedent(lines).strip("\n")
    typed = "\n".join(re.findall(r"^(?:>>>|\.\.\.) (.*)$", code, re.MULTILINE))
    names = [n for n in dict.fromkeys(re.findall(r"(?<![\w.])[A-Za-z_]\w*", typed)) if n in module and n != "torch"]
    wanted = [n for n in names if not n.startswith("__") and not re.search(rf"^{n}\b.*? = |import {n}\b", typed, re.M)]
    head = [">>> import torch"] if "torch." in typed and "import torch" not in typed else []
    head += [f">>> from {cls.__module__} import {', '.join(wanted)}"] if wanted else []
    return "```python\n" + "\n".join([*head, code]) + "\n```\n"


def described(cls: type[Rule]) -> str:
    """A class's docstring as Markdown."""
    doc = maths(inspect.getdoc(cls) or "")
    head, *rest = SECTION.split(doc)
    out = [inline(head).strip() + "\n"]
    for name, body in zip(rest[::2], rest[1::2], strict=True):
        if name == "Example":
            out.append(example(cls, body))
        elif name == "Args":
            items = re.split(r"\n    (?=\S)", "\n" + textwrap.indent(textwrap.dedent(body.strip("\n")), "    "))
            rows = [" ".join(item.split()) for item in items if item.strip()]
            out.append("".join("- " + re.sub(r"^([\w, ]+):", r"`\1`:", inline(row)) + "\n" for row in rows))
        else:
            out.append(f"**{name}:** {inline(' '.join(body.split()) if '$$' not in body else body.strip())}\n")
    return "\n".join(out)


def measured() -> Any:
    """The figures of ``make bench-rules``, where there are some."""
    file = HERE.parent / "benchmarks" / "results" / "rules.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"models": {}}


def speed(name: str) -> str:
    """Milliseconds of a step beside its peers, with a bar to compare by."""
    found = measured()
    out = []
    for model, table in found["models"].items():
        row = table.get(name)
        if row is None:
            continue
        times = {"**steepest**": row["ms"], **row["peers, ms"]}
        longest = max(times.values())
        out.append(f"| {model} | ms a step | |\n| --- | ---: | --- |\n")
        for who, ms in sorted(times.items(), key=lambda x: x[1]):
            out.append(f"| {who} | {ms:.3g} | `{'█' * max(1, round(24 * ms / longest))}` |\n")
        if row["bandwidth"] is not None:
            share = f"{100 * row['bandwidth']:.0f} %"
            out.append(f"\nBytes a second: {share} of what torch's fused AdamW moves in the same turns.\n")
        out.append("\n")
    if not out:
        return "Not measured yet: `make bench-rules`.\n"
    m = found["machine"]
    return "".join(out) + f"{m['processor']}, {m['threads']} threads, torch {m['versions']['torch']}, {m['date']}.\n"


def page(kind: Kind[..., Any]) -> str:
    """All of one rule."""
    said, built = about(kind), facts(kind().build())
    needs = ", ".join(built.needs) or "nothing but gradients"
    rows = {
        "family": f"{said.family}: {FAMILIES.get(said.family, '')}",
        "learning rate": usual(kind),
        "state": f"{built.bytes:g} bytes a parameter, measured on a float32 matrix of 1024 x 1024",
        "needs": needs,
        "evaluate": "inside `optimizer.evaluating()`" if built.averages else "the weights as they are",
        "source": inline(said.source),
    }
    parts = [
        f"# {kind.name}\n",
        inline(said.meaning) + "\n",
        *([inline(said.more) + "\n"] if said.more else []),
        f"```text\n{call(kind)}\n```\n",
        "| | |\n| --- | --- |\n" + "".join(f"| {k} | {v} |\n" for k, v in rows.items()),
        f"**Use it when** {inline(said.fields.get('Use when', ''))}\n",
        f"**Not when** {inline(said.fields.get('Not when', ''))}\n",
        "## Two landscapes\n",
        f"![{kind.name} on an ill-conditioned quadratic and in Rosenbrock's valley]({kind.name}.svg)\n",
        caption(kind, built.averages) + "\n",
        *(f"## {cls.__name__}\n\n{described(cls)}" for cls in own_links(kind)),
        f"## Speed\n\n{speed(kind.name)}",
        "[All rules](../rules.md) · [How to choose](../choosing.md)\n",
    ]
    return "\n".join(parts)


def caption(kind: Kind[..., Any], averages: bool) -> str:
    """What the drawing shows."""
    text = (
        f"{trajectory.STEPS} steps from the ring to the cross: a quadratic whose curvatures differ by "
        f"{trajectory.KAPPA:g} along turned axes, and Rosenbrock's valley with a wall a tenth as steep; exact "
        "gradients, no schedule, no decay. "
    )
    if "lr" in kind.signature.parameters:
        text += f"The learning rate is the best of {len(trajectory.RATES)} for each whose walk stays near the drawing. "
    if averages:
        text += "Blue: the weights that are trained; orange: those that are evaluated. "
    if max(link.ndim_min for link in kind().build()) > 1:
        text += "The two numbers are a matrix of one row, so the step has a direction's length and little of a matrix. "
    return text + "Two dimensions say how a rule moves, not how well it trains a network."


def rates(wanted: dict[str, Kind[..., Any]]) -> dict[str, dict[str, float | None]]:
    """The learning rate of each drawing: found once and kept; a new rule's are searched for."""
    kept = json.loads(RATES.read_text(encoding="utf-8")) if RATES.exists() else {}
    return {
        name: kept.get(name) or {land.name: trajectory.tuned(kind, land) for land in trajectory.LANDSCAPES}
        for name, kind in wanted.items()
    }


def files() -> dict[Path, str]:
    """Every file of the rules' pages and what should be in it."""
    wanted = rules()
    found = rates(wanted)
    out = {RATES: json.dumps(found, indent=1) + "\n"}
    for name, kind in wanted.items():
        out[PAGES / f"{name}.md"] = page(kind)
        out[PAGES / f"{name}.svg"] = trajectory.drawing(kind, found[name])
    return out


def same(path: Path, text: str) -> bool:
    """Whether a file holds this; drawings may differ in the last digits of another machine."""
    if not path.exists():
        return False
    there = path.read_text(encoding="utf-8")
    return trajectory.alike(there, text) if path.suffix == ".svg" else there == text


def write() -> list[str]:
    """Write what is out of date, remove what belongs to no rule; the names of both."""
    PAGES.mkdir(exist_ok=True)
    wanted = files()
    changed = []
    for path, text in wanted.items():
        if not same(path, text):
            path.write_text(text, encoding="utf-8")
            changed.append(f"rules/{path.name} rewritten")
    for path in set(PAGES.iterdir()) - set(wanted):
        path.unlink()
        changed.append(f"rules/{path.name} removed")
    return changed
