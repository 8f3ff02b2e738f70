"""Write the tables of the pages and a page for each rule, from the classes, from runs and from measured results.

    python docs/generate.py

A page (the README too) marks the place of a table with ``<!-- table: name -->`` and ``<!-- end -->``; what is between
is replaced.
``tests/docs/test_tables.py`` fails while a committed page differs from what this script would write.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import steepest.rules
from steepest.core.about import About, about
from steepest.core.chain import chain
from steepest.core.facts import facts
from steepest.core.piece import Kind, classes
from steepest.core.rule import Rule
from steepest.strategy import names
from steepest.strategy import table as strategies
from steepest.testing.rules import hyperparameters

sys.path.insert(0, str(Path(__file__).parent))
import federated_tables
import rule_pages
import suite_tables
from rule_pages import inline as markdown
from rule_pages import number

HERE = Path(__file__).parent

PLACE = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def first_line(thing: Any) -> str:
    """What a thing is, in its own words."""
    return markdown((inspect.getdoc(thing) or "").splitlines()[0])


def source(cls: type) -> str:
    """The paper that a docstring names."""
    found = re.search(r"^Source: (.*?)(?=^\w[\w ]*:|^$)", inspect.getdoc(cls) or "", re.DOTALL | re.MULTILINE)
    text = " ".join(found[1].split()).rstrip(".") if found else ""
    return markdown(text)


def table(*rows: tuple[str, ...]) -> str:
    """Rows, the first of them the head, as a Markdown table."""
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def rule_rows() -> Iterator[tuple[str, ...]]:
    """One row a rule."""
    yield "rule", "what it does", "hyperparameters", "state (in torch.optim)", "bytes", "source"
    for name, cls in classes(steepest.rules, Rule).items():
        rule: Rule = cls()
        names = rule.torch_names
        bounds = hyperparameters(rule)
        fields = [f"`{n}` = {number(getattr(rule, n))} in {b.text}" for n, b in bounds.items()]
        fields += [f"`{f.name}` = {f.default}" for f in dataclasses.fields(cls) if f.name not in bounds]
        kept = [
            f"`{n}`" + (f" ({names[n]})" if n in names else "") for n in (*rule.State._fields, *rule.Memory._fields)
        ]
        size = f"{facts(chain(rule)).bytes:g}"
        yield f"`{name}`", first_line(cls), "<br>".join(fields), ", ".join(kept) or "none", size, source(cls)


def families() -> str:
    """Every finished rule, family by family."""
    found = [(about(kind), kind) for kind in rule_pages.rules().values()]
    out = []
    for family, common in rule_pages.FAMILIES.items():
        rows = [piece_row(said, kind) for said, kind in found if said.family == family]
        if rows:
            head = ("rule", "lr", "usually", "bytes", "needs", "what it is")
            out.append(f"### {family[0].upper()}{family[1:]}\n\nIt {common}.\n\n{table(head, *rows)}\n")
    return "".join(out)


def piece_row(said: About, kind: Kind[..., Any]) -> tuple[str, ...]:
    """One finished rule."""
    built = facts(kind().build())
    lr = kind.signature.parameters["lr"].default if "lr" in kind.signature.parameters else None
    usual = " to ".join(dict.fromkeys(map(number, said.usual_lr or ()))).replace(" ", "&nbsp;")
    return (
        f"[`{kind.name}`](rules/{kind.name}.md)",
        "" if lr is None else number(lr),
        usual,
        f"{built.bytes:g}",
        ", ".join(built.needs),
        markdown(said.meaning),
    )


def results(name: str) -> Any:
    """The figures that a benchmark kept."""
    return json.loads((HERE.parent / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def adamw_rows() -> Iterator[tuple[str, ...]]:
    """Milliseconds of an AdamW step, with the ratio to torch's fused step, by model."""
    measured = results("step")["AdamW"]
    yield "", *(name[:3] + name[3:].replace("GPT-shaped ", "GPT-shaped<br>") for name in measured)
    for row in next(iter(measured.values())):
        cells = [f"{t[row]['ms']:.3g} ms ({t[row]['ratio']:.2f})" for t in measured.values()]
        yield row.replace("clip_grad_norm_", "`clip_grad_norm_`"), *cells


def speed_rows() -> Iterator[tuple[str, ...]]:
    """Bandwidth of every rule as a share of torch's fused AdamW, and the speed-up over torch's own class."""
    measured = results("step")["rules"]
    yield (
        "rule",
        *(f"{name}: bandwidth" for name in measured),
        *(f"{name[:3]}: speed-up over torch's class" for name in measured),
    )
    for rule in list(next(iter(measured.values())))[1:]:
        rows = [t[rule] for t in measured.values()]
        shares = [f"{row['bandwidth of torch fused AdamW']:.2f}" for row in rows]
        times = [f"{x:.2g}" if (x := row["times faster than torch"]) else "no such class" for row in rows]
        yield rule, *shares, *times


def rest_rows() -> Iterator[tuple[str, ...]]:
    """Everything else that ``benchmarks/step.py`` measures."""
    measured = results("step")
    yield "what", "measured"
    for name, row in measured["training step"].items():
        yield f"digits MLP, whole training step: {name}", f"{row['ms']:.3f} ms (ratio {row['ratio']:.2f})"
    for name, seconds in measured["first step, seconds"].items():
        yield f"first step, {name}", f"{seconds:.2f} s"
    yield "kernels built while hyperparameters move", str(measured["recompilations while hyperparameters move"])
    for name, size in measured["peak memory, bytes a parameter"].items():
        yield f"peak memory that steps add: {name}", f"{size:.1f} bytes a parameter"


def headline_rows() -> Iterator[tuple[str, ...]]:
    """The figures that the README shows."""
    measured = results("step")["AdamW"]
    yield "one step, ratio of time (below 1 is faster)", *(name[4:] for name in measured)
    for row, name, peer in (
        ("steepest", "AdamW", "torch fused"),
        ("steepest", "AdamW", "torch default"),
        ("steepest with clip_norm", "AdamW with clipping", "clip_grad_norm_ + torch fused"),
    ):
        shown = f"{name} / {peer.replace('clip_grad_norm_', '`clip_grad_norm_`')}"
        yield shown, *(f"{t[row]['ms'] / t[peer]['ms']:.2f}" for t in measured.values())


def machine() -> str:
    """On what the step was measured."""
    m = results("step")["machine"]
    return f"{m['processor']}, {m['threads']} threads, Python {m['python']}, torch {m['torch']}.\n"


def demo_rows() -> Iterator[tuple[str, ...]]:
    """The leaderboards of ``make demo``."""
    yield "task", "rank", "strategy", "validation", "test", "against the best (95 % interval)", "separable"
    for name, task in results("demo")["tasks"].items():
        for row in task["leaderboard"]:
            validation, test, gap = row["validation"], row["test"], row["against_best"] or {}
            interval = f"{gap['difference']:+.3g} [{gap['low']:+.3g}, {gap['high']:+.3g}]" if gap.get("low") else ""
            separable = {True: "yes", False: "no"}.get(gap.get("separable"), "")
            yield (
                name,
                str(row["rank"]),
                f"`{row['label']}`",
                f"{validation['mean']:.4g} ± {validation['sd']:.2g}",
                f"{test['mean']:.4g}",
                interval,
                separable,
            )


def demo_output() -> str:
    """What ``make demo`` printed."""
    text = (HERE.parent / "benchmarks" / "results" / "demo.txt").read_text(encoding="utf-8")
    return f"```text\n{text.rstrip()}\n```\n"


def precision_quality_rows() -> Iterator[tuple[str, ...]]:
    """Final losses under every precision, against float32 at the same seeds."""
    measured = results("precision")["quality"]
    yield "weights, precision", *(f"`{n}`, {t['seeds']} seeds of {t['steps']} steps" for n, t in measured.items())
    for row in next(iter(measured.values()))["rows"]:
        cells = []
        for task in measured.values():
            found = task["rows"][row]
            low, high = found["its interval"] or (None, None)
            gap = f" ({found['difference to float32']:+.4f} [{low:+.4f}, {high:+.4f}])" if low is not None else ""
            cells.append(f"{found['loss']:.4f}{gap}")
        yield row, *cells


def precision_cost_rows() -> Iterator[tuple[str, ...]]:
    """Bytes a parameter and time of a step under every precision."""
    yield "weights, precision", "bytes a parameter", "step, ms", "times float32"
    for row, cost in results("precision")["cost"].items():
        yield row, f"{cost['bytes']['total']:.6g}", f"{cost['step ms']:.1f}", f"{cost['times float32']:.2f}"


def precision_machine() -> str:
    """On what the precisions were measured."""
    found = results("precision")
    return f"{found['machine']['cpu']}, Python {found['versions']['python']}, torch {found['versions']['torch']}.\n"


def monitor_rows() -> Iterator[tuple[str, ...]]:
    """What watching costs, by optimizer, task and preset."""
    yield "optimizer", "task", "steps", "ms a step", *(name for name in ("economy", "normal", "full"))
    for kind, tasks in results("monitor")["overhead"].items():
        for task, row in tasks.items():
            pairs = [(row["percent"][p], row["own percent"][p]) for p in ("economy", "normal", "full")]
            costs = [f"{whole:+.1f} % ({own:.1f} %)" for whole, own in pairs]
            name = "torch, fused" if kind == "torch" else kind
            yield name, task, str(row["steps"]), f"{row['ms a step']:.2g}", *costs


def doctor_rules() -> Iterator[tuple[str, ...]]:
    """Every rule of the doctor."""
    from steepest.doctor import looks

    yield "rule", "what it finds", "source"
    for name, look in looks().items():
        module = sys.modules[look.__module__]
        yield f"`{name}`", first_line(module), str(vars(module)["SOURCE"])


def doctor_rows() -> Iterator[tuple[str, ...]]:
    """How often each fault was named, in each measurement."""
    parts = results("doctor")
    yield (
        "fault (rule)",
        *(words for part in parts for words in (f"named, {part}", "named first")),
        "what else was said (runs)",
    )
    first = next(iter(parts.values()))
    for fault in first["faults"]:
        cells, also = [], dict[str, int]()
        for part in parts.values():
            row = part["faults"].get(fault)
            if row is None:  # measured again for some faults alone
                cells += ["", ""]
                continue
            cells += [f"{row['named']} of {row['runs']}", f"{row['first']} of {row['runs']}"]
            for name, n in row["also"].items():
                also[name] = also.get(name, 0) + n
        said = ", ".join(f"{name} ({n})" for name, n in sorted(also.items(), key=lambda entry: -entry[1]))
        yield f"`{fault}`", *cells, said
    totals = [words for part in parts.values() for words in (f"**{part['named']} of {part['sick']}**", "")]
    yield "all faults", *totals, ""
    counts = [
        f"**{len(part['wrong alarms'])} of {part['healthy']}**" if part["healthy"] else "" for part in parts.values()
    ]
    alarms = [words for count in counts for words in (count, "")]
    wrong = "; ".join(words for part in parts.values() for words in part["wrong alarms"])
    yield "wrong alarms on healthy runs", *alarms, wrong


def fleet_rows() -> Iterator[tuple[str, ...]]:
    """Member-steps a second of fleets, beside a loop and a pool of processes."""
    yield "task, batch", "members", "plain loop", "processes", "one stack", "blocks", "over the loop", "over processes"
    for name, case in results("fleet")["cases"].items():
        rates, (task, _, members) = case["rates"], name.partition(" x ")
        split = {way.rpartition(" ")[2]: rate for way, rate in rates.items() if way.startswith("blocks")}
        size = max(split, key=lambda of: split[of])
        ratios = (f"{case[over]:.1f}" for over in ("over loop", "over processes"))
        best = {way: max(r for n, r in rates.items() if n.startswith(way)) for way in ("loop", "stacked")}
        cells = (best["loop"], rates["processes"], best["stacked"])
        yield (
            f"`{task}`, {case['batch']}",
            members,
            *(f"{rate:,.0f}" for rate in cells),
            f"{split[size]:,.0f} (of {size})",
            *ratios,
        )


def fleet_search_rows() -> Iterator[tuple[str, ...]]:
    """Trials a minute of a tuned comparison, with and without fleets."""
    yield "task", "trials, steps of each", "processes", '`together="auto"`', "of them stacked"
    for task, row in results("fleet").get("searches", {}).items():
        rates = (f"{row[way]:.0f}" for way in ("processes", "auto"))
        yield f"`{task}`", f"{row['trials']}, {row['steps']}", *rates, str(row["stacked"])


def fleet_machine() -> str:
    """On what fleets were measured."""
    m = results("fleet")["machine"]
    return f"{m['cpu']}, {m['cores']} cores, Python {m['python']}, torch {m['torch']}.\n"


def transfer_rows() -> Iterator[tuple[str, ...]]:
    """Each way of going on from a run, beside training from scratch."""
    yield "question", "way", "validation loss", "test error", "against scratch"
    for question in results("transfer")["questions"]:
        said = f"{question['question']}: {question['samples']} samples, {question['steps']} steps"
        for row in question["rows"]:
            d, way = row["against_scratch"], row["strategy"].rpartition(")")[0].rpartition("| ")[2] + ")"
            against = "" if d is None else f"{d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
            way = row["label"] if d is None else "`start`" if way.startswith("start(") else f"`start`, `{way}`"
            error = f"{100 * row['test_error']['mean']:.1f} %"
            yield said, way, f"{row['validation']['mean']:.3f}", error, against
            said = ""


def evaluation_rows() -> Iterator[tuple[str, ...]]:
    """How much training each way to search needed until it was as good as the best of 200 random trials."""
    record = results("tune_evaluations")
    tasks, cap = list(record["goal"]), record["cap"]
    yield "scheme", *(f"`{task}`" for task in tasks), "reached", "seeds", "ratio to optuna"

    def shown(value: float) -> str:
        return f"> {cap:.0f}" if value >= cap else f"{value:.0f}"

    for row in record["rows"]:
        cells = [f"{shown(m)} ({shown(low)} to {shown(high)})" for m, low, high in (row["median"][t] for t in tasks)]
        runs = sum(map(len, row["costs"].values()))
        ratio = "{:.2f} ({:.2f} to {:.2f})".format(*row["ratio"])
        name, _, more = row["scheme"].partition(", ")
        name = row["scheme"] if name.startswith("optuna") else f"`{name}`" + (f", {more}" if more else "")
        seeds = sorted({len(of) for of in row["costs"].values()})
        yield (
            name, *cells, f"{runs - row['unreached']} of {runs}", " to ".join(map(str, seeds)),
            "1" if row["scheme"].startswith("optuna") else ratio,
        )  # fmt: skip


def nowcast_rows() -> Iterator[tuple[str, ...]]:
    """Each task with a tuned setting, and at a low constant rate: with nowcasts and without."""
    yield "task", "setting", "without", "with", "difference", "looks taken", "passes forward a run"
    for row in results("nowcast")["rows"]:
        difference = f"{row['difference']:+.2g} [{row['low']:+.2g}, {row['high']:+.2g}]"
        taken = f"{row['accepted']} of {row['looks']}"
        where = row["where"] if row["where"] != "tuned" else f"`{row['settings']['nowcast']}`"
        yield (
            f"`{row['task']}`", where, f"{row['base']:.3g}", f"{row['nowcast']:.3g}", difference, taken,
            f"{row['passes']:.0f}",
        )  # fmt: skip


def nowcast_machine() -> str:
    """Seeds and machine."""
    record = results("nowcast")
    m, of = record["machine"], record["versions"]
    return f"{record['seeds']} fresh seeds; {m['cpu']}, one thread, Python {of['python']}, torch {of['torch']}.\n"


def multitask_rows() -> Iterator[tuple[str, ...]]:
    """One row a multi-task method."""
    yield "piece", "what it does", "compares", "a step costs more by", "declared and tested"
    for name in names("multitask"):
        kind = strategies()[name]
        method = kind().build()
        properties = ", ".join(method.declared())
        said = about(kind)
        needs = "losses" if method.needs == "losses" else "gradients"
        yield f"`{name}`", f"{markdown(said.meaning)} {markdown(said.source)}", needs, method.cost(), properties


def multitask_cost_rows() -> Iterator[tuple[str, ...]]:
    """What several losses cost, as multiples of a plain step on their sum."""
    measured = results("multitask")["tasks"]
    yield "", *(f"{m} tasks" for m in measured)
    for way in next(iter(measured.values()))["times plain"]:
        if way != "plain":
            yield way, *(f"{found['times plain'][way]:.1f}" for found in measured.values())


def multitask_machine() -> str:
    """On what that was measured."""
    m = results("multitask")["machine"]
    return f"{m['cpu']}, one thread, Python {m['python']}, torch {m['torch']}.\n"


def multitask_method_rows() -> Iterator[tuple[str, ...]]:
    """Each way to combine losses on each task, all tuned alike."""
    yield "task", "way", "geometric mean of the losses", "against the tuned sum", "p", "CPU time of a run"
    for one in results("multitask_methods")["tasks"]:
        said = f"`{one['task']}`, {one['tasks']} tasks, {one['steps']} steps"
        for row in one["rows"]:
            if "balanced" not in row:
                yield (
                    said,
                    row["label"],
                    f"{row['lost']} of {one['seeds']} runs lost",
                    "",
                    "",
                    f"{row['cpu_seconds']:.2f} s",
                )
                said = ""
                continue
            mean, low, high = row["balanced"]
            against, p = "", ""
            if "against_sum" in row:
                d = [100 * v for v in row["against_sum"]]
                against = f"{d[0]:+.1f} % [{d[1]:+.1f}, {d[2]:+.1f}]"
                p = "below 0.001" if row["p"] < 1e-3 else f"{row['p']:.2g}"
            yield said, row["label"], f"{mean:.4g} [{low:.4g}, {high:.4g}]", against, p, f"{row['cpu_seconds']:.2f} s"
            said = ""


def multitask_methods_machine() -> str:
    """How that was measured."""
    found = results("multitask_methods")
    one, m = found["tasks"][0], found["machine"]
    return (
        f"{one['trials']} trials for each way and task, {one['seeds']} seeds, `{found['rule']}`; "
        f"{found['cpu_minutes']:.0f} CPU minutes in all on one thread of an {m['cpu']}, "
        f"torch {found['versions']['torch']}.\n"
    )


def regret_rows() -> Iterator[tuple[str, ...]]:
    """How far above the known minimum each sampler ended."""
    measured = results("tune_regret")["samplers"]
    yield "sampler", *next(iter(measured.values())), "seeds", "ms a trial"
    for name, functions in measured.items():
        pairs = ((found["at 30"], found["at 60"]) for found in functions.values())
        cells = (", ".join(f"{x:.0f}" if x >= 100 else f"{x:.2g}" for x in pair) for pair in pairs)
        dear = max(found["ms"] for found in functions.values())
        seeds = min(found.get("seeds", 3) for found in functions.values())
        yield f"`{name}`" if " " not in name else name, *cells, str(seeds), f"{dear:.1f}"


TABLES: dict[str, Callable[[], str]] = {
    "rules": lambda: table(*rule_rows()),
    "rule-pieces": families,
    "step-adamw": lambda: table(*adamw_rows()),
    "step-rules": lambda: table(*speed_rows()),
    "step-rest": lambda: table(*rest_rows()),
    "step-headline": lambda: table(*headline_rows()),
    "step-machine": machine,
    "precision-quality": lambda: table(*precision_quality_rows()),
    "precision-cost": lambda: table(*precision_cost_rows()),
    "precision-machine": precision_machine,
    "doctor": lambda: table(*doctor_rows()),
    "doctor-rules": lambda: table(*doctor_rules()),
    "demo": lambda: table(*demo_rows()),
    "demo-output": demo_output,
    "monitor": lambda: table(*monitor_rows()),
    "suite-made": suite_tables.made,
    "suite-overall": lambda: table(*suite_tables.overall_rows()),
    "suite-tasks": lambda: table(*suite_tables.task_rows()),
    "suite-verdicts": suite_tables.verdicts,
    "federated-methods": lambda: table(*federated_tables.method_rows()) + "\n" + federated_tables.made(),
    "federated-own": lambda: table(*federated_tables.own_rows()),
    "federated-bytes": lambda: table(*federated_tables.byte_rows()),
    "federated-attacks": lambda: table(*federated_tables.attack_rows()),
    "federated-waiting": lambda: table(*federated_tables.waiting_rows()),
    "fleet": lambda: table(*fleet_rows()),
    "fleet-searches": lambda: table(*fleet_search_rows()),
    "fleet-machine": fleet_machine,
    "transfer": lambda: table(*transfer_rows()),
    "nowcast": lambda: table(*nowcast_rows()),
    "nowcast-machine": nowcast_machine,
    "tune-regret": lambda: table(*regret_rows()),
    "tune-evaluations": lambda: table(*evaluation_rows()),
    "multitask": lambda: table(*multitask_rows()),
    "multitask-cost": lambda: table(*multitask_cost_rows()),
    "multitask-machine": multitask_machine,
    "multitask-methods": lambda: table(*multitask_method_rows()),
    "multitask-methods-machine": multitask_methods_machine,
}


def filled(page: str) -> str:
    """A page with its tables up to date."""
    return PLACE.sub(lambda m: m[1] + TABLES[m["name"]]() + m[3], page)


def main() -> None:
    """Rewrite every page that is out of date."""
    for path in (HERE.parent / "README.md", *sorted(HERE.glob("*.md"))):
        page = path.read_text(encoding="utf-8")
        if (new := filled(page)) != page:
            path.write_text(new, encoding="utf-8")
            print(f"{path.name} rewritten")
    print(*rule_pages.write(), sep="\n")


if __name__ == "__main__":
    main()
