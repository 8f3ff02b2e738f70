"""What meta-training did for ``neuron_graph``: its curve, and its weights on families of tasks that it has not seen.

    python benchmarks/meta.py [--folder runs/meta] [--tasks 12] [--all] [--out FILE.json] [--picture FILE.png]

For each held-out family (with --all also, with other seeds, for those that were trained on) runs with Adam, with the
network and with the one that has no neurons, from the same starts on the same batches, six learning rates each; the
loss is on new data, the mean of the last tenth. The number is the logarithm of the loss over Adam's, each at the best
of its rates, and an interval over tasks by the bootstrap.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.records import machine, versions
from steepest.graph.meta.families import HELD_OUT, TRAIN
from steepest.graph.meta.runs import compare
from steepest.rules.neurons import count, kept, untrained

RATES = (2e-3, 5e-3, 1e-2, 2e-2, 4e-2, 8e-2)
SEED = 99
FINE = 2
COLOURS = {"nodes": (0, 114, 178), "edges": (213, 94, 0)}
SAID = {"nodes": "with neurons", "edges": "edges alone"}


def interval(values: list[float]) -> list[float]:
    """Mean, and a 95 % interval by the bootstrap."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(1)
    return [float(np.mean(values)), *(float(x) for x in np.quantile(draws, [0.025, 0.975]))]


def judged(thetas: dict[str, Tensor], tasks: int, trained: bool) -> list[dict[str, Any]]:
    """A row for every family."""
    rows = []
    for part, families in (("held out", HELD_OUT), ("trained on", TRAIN if trained else ())):
        for family in families:
            adam = compare(family, untrained(), RATES, tasks, SEED)
            row: dict[str, Any] = {"family": family.name, "part": part, "adam": [min(x) for x in adam]}
            for name, theta in thetas.items():
                found = compare(family, theta, RATES, tasks, SEED)
                ratios = [math.log(min(a) / min(b)) for a, b in zip(found, adam, strict=True)]
                row[name] = interval(ratios)
                row[f"{name}, tasks won"] = sum(r < 0 for r in ratios)
            rows.append(row)
            words = [f"{name} {row[name][0]:+.3f} [{row[name][1]:+.3f}, {row[name][2]:+.3f}]" for name in thetas]
            print(f"{part:10} {family.name:24} {'   '.join(words)}", flush=True)
    return rows


def curves(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The lines of both trainings."""
    return {
        name: [json.loads(x) for x in (folder / name / "curve.jsonl").read_text().splitlines()]
        for name in COLOURS
        if (folder / name / "curve.jsonl").exists()
    }


def smoothed(lines: list[dict[str, Any]], width: int = 40) -> list[tuple[float, float]]:
    """The mean over families and over updates nearby."""
    values = np.array([np.mean(x["log_ratio"]) for x in lines])
    means = [values[max(0, i - width // 2) : i + width // 2 + 1].mean() for i in range(len(values))]
    return [(float(x["update"]), float(m)) for x, m in zip(lines, means, strict=True)]


def held(lines: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """The looks at held-out families: mean over tasks."""
    return [
        (float(x["update"]), float(np.mean([v for values in x["held_out"].values() for v in values])))
        for x in lines
        if "held_out" in x
    ]


def draw(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Lines: what is trained on, with perturbed weights; dots: held-out families at their best learning rate."""
    from PIL import Image, ImageDraw, ImageFont

    width, height, left, top, bottom = 720 * FINE, 400 * FINE, 64 * FINE, 40 * FINE, 44 * FINE
    ways = {name: smoothed(lines) for name, lines in found.items()}
    dots = {name: held(lines) for name, lines in found.items()}
    points = [p for way in (*ways.values(), *dots.values()) for p in way]
    last = max(x for x, _ in points)
    low, high = min(y for _, y in points) - 0.01, max(0.02, max(y for _, y in points) + 0.01)

    def at(p: tuple[float, float]) -> tuple[float, float]:
        return (left + p[0] / last * (width - left - 20 * FINE),
                top + (high - p[1]) / (high - low) * (height - top - bottom))  # fmt: skip

    whole = Image.new("RGB", (width, height), (255, 255, 255))
    pen = ImageDraw.Draw(whole)
    font, small = ImageFont.load_default(15 * FINE), ImageFont.load_default(13 * FINE)
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if (high - low) / s <= 8)
    for i in range(math.ceil(low / step), math.floor(high / step) + 1):
        (x, y), right = at((0, i * step)), at((last, 0))[0]
        pen.line([(x, y), (right, y)], fill=(120, 120, 120) if i == 0 else (226, 230, 234), width=FINE)
        pen.text(
            (left - 8 * FINE, y),
            f"{i * step:+.2f}" if i else "0",
            fill=(87, 96, 106),
            font=small,
            anchor="rm",
        )
    for part in range(5):
        x, y = at((last * part / 4, low))
        pen.text((x, y + 8 * FINE), f"{last * part / 4:.0f}", fill=(87, 96, 106), font=small, anchor="ma")
    pen.text((width / 2, height - 4 * FINE), "updates of the network", fill=(87, 96, 106), font=small, anchor="ms")
    pen.text((8 * FINE, 6 * FINE), "log of the loss over Adam's; below 0 is better", fill=(27, 31, 36), font=font)
    for i, (name, way) in enumerate(ways.items()):
        tone = COLOURS[name]
        pen.line([at(p) for p in way], fill=tone, width=2 * FINE, joint="curve")
        for p in dots[name]:
            (x, y), r = at(p), 5 * FINE
            shape = pen.ellipse if name == "nodes" else pen.rectangle
            shape([x - r, y - r, x + r, y + r], fill=(255, 255, 255), outline=tone, width=2 * FINE)
        pen.text((width - 20 * FINE, (24 + 18 * i) * FINE), f"{SAID[name]}: line trained on, dots held out",
                 fill=tone, font=small, anchor="rm")  # fmt: skip
    whole.resize((width // FINE, height // FINE), Image.Resampling.LANCZOS).quantize(96, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/meta"))
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--all", action="store_true", help="the families that were trained on, too")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = curves(options.folder)
    rows = judged({name: kept(nodes=name == "nodes") for name in COLOURS}, options.tasks, options.all)
    if options.picture and found:
        draw(found, options.picture)
    if options.out:
        record = {
            "machine": machine(),
            "versions": versions(),
            "numbers": {"nodes": count(), "edges": count(nodes=False)},
            "training": {
                name: {
                    "updates": lines[-1]["update"],
                    "cpu_seconds": lines[-1]["cpu_seconds"],
                    "trained_on": [[x, round(y, 4)] for x, y in smoothed(lines)[::20]],
                    "held_out": [[x, round(y, 4)] for x, y in held(lines)],
                }
                for name, lines in found.items()
            },
            "rates": RATES,
            "tasks": options.tasks,
            "rows": rows,
        }
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
