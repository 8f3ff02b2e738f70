"""The two losses of CAGrad and the scaled ones of Nash-MTL: which methods reach the Pareto set, with pictures.

    python benchmarks/multitask_toys.py [--toy NAME] [--work FOLDER] [--out FILE] [--pictures docs]

Adam from three starts, 5000 steps of 0.02 (the papers: 100 000 of 0.001); each way is a real run in float64. The
pictures show the mean of the losses, darker where it is higher, the ways, and the Pareto set as a thick line. A folder
given by --work is gone on with.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy
import torch

import steepest.multitask as M
from steepest.core.records import plain, provenance
from steepest.multitask import Method
from steepest.testing.toys import STARTS, toy

LR, STEPS, EVERY = 0.02, 5_000, 10
TOYS = {"cagrad": 1.0, "nash": 0.1}
METHODS: dict[str, dict[str, Method]] = {
    "cagrad": {"mean": M.Mean(), "PCGrad": M.PCGrad(), "CAGrad": M.CAGrad(), "UPGrad": M.UPGrad()},
    "nash": {"mean": M.Mean(), "CAGrad": M.CAGrad(), "UPGrad": M.UPGrad(), "Nash-MTL": M.NashMTL()},
}
BOX, SIZE, FINE = 10.5, 330, 2
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115))


def walk(method: Method, scale: float) -> list[list[tuple[float, float]]]:
    """The ways from all starts."""
    x = torch.tensor(STARTS, dtype=torch.float64, requires_grad=True)
    adam, s = torch.optim.Adam([x], lr=LR), method.start(2)
    ways = [[(a, b)] for a, b in STARTS]
    for t in range(1, STEPS + 1):
        f = toy(x, scale)
        rows = torch.stack([torch.autograd.grad(f[:, i].sum(), x, retain_graph=True)[0] for i in (0, 1)], 1)
        seen = M.Seen(losses=f.detach(), gramian=rows @ rows.mT, t=t, draw=torch.Generator().manual_seed(t))
        w, s = method.weigh(seen, s)
        x.grad = (w[..., None] * rows).sum(1)
        adam.step()
        if t % EVERY == 0:
            for way, (a, b) in zip(ways, x.tolist(), strict=True):
                way.append((a, b))
    return ways


def kept_walk(method: Method, scale: float, place: Path | None) -> list[list[tuple[float, float]]]:
    """The ways, from a file where they are there."""
    if place is None or not place.exists():
        ways = walk(method, scale)
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(ways))
        return ways
    return [[(a, b) for a, b in way] for way in json.loads(place.read_text())]


def reached(end: tuple[float, float]) -> bool:
    """At the bottom, between the two minima."""
    return abs(end[1] + 8.36) < 0.6 and abs(end[0]) <= 7.2


def draw(found: dict[str, Any], scale: float, path: Path) -> None:
    """The panels, two in a row."""
    from PIL import Image, ImageDraw, ImageFont

    side, head = SIZE * FINE, 26 * FINE
    grid = torch.linspace(-BOX, BOX, side, dtype=torch.float64)
    xs, ys = torch.meshgrid(grid, -grid, indexing="xy")
    z = toy(torch.stack([xs, ys], -1), scale).mean(-1).numpy()
    low, high = numpy.quantile(z, 0.002), numpy.quantile(z, 0.998)
    share = numpy.clip((z - low) / (high - low), 0, 1)
    band = numpy.floor(share * 14) / 14
    pixels = numpy.array([252.0, 252, 252]) + band[..., None] * (numpy.array([158.0, 168, 180]) - 252)
    columns, names = 2, list(found)
    rows = -(-len(names) // columns)
    gap = 10 * FINE
    whole = Image.new("RGB", (columns * side + gap, rows * (side + head) + (rows - 1) * gap), (255, 255, 255))
    font = ImageFont.load_default(15 * FINE)
    for k, name in enumerate(names):
        panel = Image.fromarray(pixels.round().astype(numpy.uint8))
        pen = ImageDraw.Draw(panel)

        def at(p: tuple[float, float]) -> tuple[float, float]:
            return (p[0] + BOX) / (2 * BOX) * side, (BOX - p[1]) / (2 * BOX) * side

        pen.line([at((-7, -8.36)), at((7, -8.36))], fill=(90, 90, 90), width=5 * FINE)
        for way, tone in zip(found[name]["ways"], COLOURS, strict=True):
            pen.line([at(p) for p in way], fill=tone, width=2 * FINE, joint="curve")
            x, y = at(way[0])
            r = 5 * FINE
            pen.ellipse([x - r, y - r, x + r, y + r], fill=(255, 255, 255), outline=tone, width=2 * FINE)
            x, y = at(way[-1])
            if reached(way[-1]):
                pen.ellipse([x - r, y - r, x + r, y + r], fill=tone)
            else:
                pen.line([x - r, y - r, x + r, y + r], fill=tone, width=3 * FINE)
                pen.line([x - r, y + r, x + r, y - r], fill=tone, width=3 * FINE)
        left, top = (k % columns) * (side + gap), (k // columns) * (side + head + gap)
        count = sum(map(reached, (way[-1] for way in found[name]["ways"])))
        ImageDraw.Draw(whole).text((left, top), f"{name}: {count} of 3", fill=(27, 31, 36), font=font)
        whole.paste(panel, (left, top + head))
    small = whole.resize((whole.width // FINE, whole.height // FINE), Image.Resampling.LANCZOS)
    small.quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", choices=TOYS, action="append")
    parser.add_argument("--work", type=Path, help="keep each way here")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept: dict[str, Any] = {}
    for name in options.toy or TOYS:
        scale, found = TOYS[name], {}
        for label, method in METHODS[name].items():
            ways = kept_walk(method, scale, options.work and options.work / f"{name}-{label}.json")
            ends = [way[-1] for way in ways]
            found[label] = {"ways": ways, "ends": ends, "reached": list(map(reached, ends))}
            said = ", ".join(f"({a:+.2f}, {b:+.2f}){'' if reached((a, b)) else ' not there'}" for a, b in ends)
            print(f"{name:7} {label:18} {said}", flush=True)
        if options.pictures:
            draw(found, scale, options.pictures / f"multitask-toy-{name}.png")
        kept[name] = {k: {"ends": v["ends"], "reached": v["reached"]} for k, v in found.items()}
    if options.out:
        record = {"lr": LR, "steps": STEPS, "starts": STARTS, "toys": kept, **provenance()}
        options.out.write_text(json.dumps(plain(record), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
