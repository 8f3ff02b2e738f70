"""How often are two equal strategies called different? Four laws, 3, 5 and 10 seeds, 4000 comparisons of each.

    python benchmarks/levels.py

A comparison calls two arms different when both its interval and its t-test do; a level
of 5 % is promised. With 4000 comparisons a share of 5 % is known to within 0.7 %.
"""

from __future__ import annotations

import argparse

import numpy

from steepest.compare.statistics import paired

LAWS = {
    "normal": lambda draw, size: draw.standard_normal(size),
    "heavy tails (t, 3 degrees)": lambda draw, size: draw.standard_t(3, size),
    "skew (exponential)": lambda draw, size: draw.exponential(1.0, size),
    "errors of 360": lambda draw, size: draw.binomial(360, 0.03, size) / 360,
}
SEEDS = (3, 5, 10)


def share(law: str, seeds: int, comparisons: int) -> float:
    """The share of comparisons of an arm with itself that are called different."""
    draw = numpy.random.default_rng([seeds, 13])
    a, b = LAWS[law](draw, (comparisons, seeds)), LAWS[law](draw, (comparisons, seeds))
    return sum(paired(list(x), list(y)).separable is True for x, y in zip(a, b, strict=True)) / comparisons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=4000)
    n = parser.parse_args().comparisons
    found = {(law, seeds): share(law, seeds, n) for law in LAWS for seeds in SEEDS}
    print(f"{'law':28}" + "".join(f"{seeds:>9} seeds" for seeds in SEEDS))
    for law in LAWS:
        print(f"{law:28}" + "".join(f"{100 * found[law, seeds]:13.1f} %" for seeds in SEEDS))
    print(f"{100 * min(found.values()):.1f} to {100 * max(found.values()):.1f} % of {n} comparisons each")


if __name__ == "__main__":
    main()
