"""What a full-batch step of a graph network costs: messages over edges, or a sparse matrix that is there already.

    python benchmarks/graph.py [--out benchmarks/results/graph.json] [--rounds N]

Two GCN layers with 128 features and 128 hidden units; forward and backward pass, no optimizer. torch_geometric's layer
as it is (it normalises and scatters in every step), with its own cache of normalised edges, with torch's CSR matrix,
and with :class:`steepest.graph.Adjacency`. All ways run in turn, round by round, on one thread; CPU milliseconds, of
which the median counts, so a busy machine changes them little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from steepest.core.records import machine, versions
from steepest.graph import Adjacency, undirected

SIZES = ((34, 78), (3_000, 15_000), (20_000, 200_000))
FEATURES, CLASSES = 128, 8


def ways(edges: Tensor, nodes: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Each way to the same output."""
    torch.manual_seed(0)
    layers = [GCNConv(FEATURES, FEATURES), GCNConv(FEATURES, CLASSES)]
    made = Adjacency(edges, nodes)
    matrix = made.csr()

    def net(cached: bool, normalize: bool) -> list[Any]:
        found = []
        for layer in layers:
            own = GCNConv(layer.in_channels, layer.out_channels, cached=cached, normalize=normalize)
            own.load_state_dict(layer.state_dict())
            found.append(own)
        return found

    def run(net: list[Any], graph: Any) -> Callable[[Tensor], Tensor]:
        return lambda x: net[1](net[0](x, graph).relu(), graph)

    own = net(cached=False, normalize=False)

    def ours(x: Tensor) -> Tensor:
        h = made(own[0].lin(x)) + own[0].bias
        return made(own[1].lin(h.relu())) + own[1].bias

    found: dict[str, Callable[[Tensor], Tensor]] = {
        "torch_geometric": run(net(False, True), edges),
        "torch_geometric, cached": run(net(True, True), edges),
        "torch_geometric, torch's CSR": run(net(False, False), matrix),
        "Adjacency": ours,
    }
    return found


def step(way: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    start = time.process_time()
    x = x.detach().requires_grad_()  # as in a hidden layer
    nn.functional.cross_entropy(way(x), y).backward()
    return 1e3 * (time.process_time() - start)


def measure(nodes: int, pairs: int, rounds: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    edges = undirected(torch.randint(nodes, (2, pairs), generator=generator))
    x = torch.randn(nodes, FEATURES, generator=generator)
    y = torch.randint(CLASSES, (nodes,), generator=generator)
    all_ways = ways(edges, nodes)
    outputs = [way(x) for way in all_ways.values()]
    for other in outputs[1:]:
        torch.testing.assert_close(other, outputs[0], rtol=1e-3, atol=1e-4)
    times: dict[str, list[float]] = {name: [] for name in all_ways}
    for i in range(rounds + 2):
        for name, way in all_ways.items():
            ms = step(way, x, y)
            if i >= 2:
                times[name].append(ms)
    return {"nodes": nodes, "edges": edges.shape[1], "ms": {n: statistics.median(t) for n, t in times.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = [measure(nodes, pairs, options.rounds) for nodes, pairs in SIZES]
    names = list(rows[0]["ms"])
    print(f"| nodes | edges | {' | '.join(names)} |")
    print(f"| --: | --: | {' | '.join('--:' for _ in names)} |")
    for row in rows:
        cells = " | ".join(f"{row['ms'][n]:.3g}" for n in names)
        print(f"| {row['nodes']} | {row['edges']} | {cells} |")
    if options.out:
        found = {"machine": machine(), "versions": versions(), "rounds": options.rounds, "sizes": rows}
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
