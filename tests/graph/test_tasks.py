from __future__ import annotations

import ast
import math
import random
import subprocess
import sys
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch

import steepest as st
from steepest import tasks
from steepest.graph import GraphError
from steepest.graph.tasks import imports, karate, molecules, partition
from steepest.tasks.splits import split_of

pytest.importorskip("torch_geometric")
NAMES = ["gcn-partition", "import-graph", "karate", "molecules"]


def test_they_are_found_beside_the_tasks_of_the_room_below_without_their_guest() -> None:
    code = (
        "import sys; sys.modules['torch_geometric'] = None\n"
        "from steepest import tasks\n"
        "print([n for n, t in tasks.catalogue().items() if t.function.__module__.startswith('steepest.graph')])\n"
        "try: tasks.load('karate')\n"
        "except tasks.TaskError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert ast.literal_eval(first) == NAMES
    assert second.endswith("pip install 'steepest[graph]'")


# ------------------------------------------------------------------------------------------------- planted partition


def test_the_planted_partition_has_the_degrees_that_it_says() -> None:
    x, edges, y = partition.planted(3000)
    inside = (y[edges[0]] == y[edges[1]]).float().sum() / 3000
    outside = (y[edges[0]] != y[edges[1]]).float().sum() / 3000
    assert inside.item() == pytest.approx(partition.INSIDE, rel=0.02)
    assert outside.item() == pytest.approx(partition.OUTSIDE, rel=0.05)
    assert torch.bincount(y).tolist() == [500] * 6
    noise = torch.stack([x[y == c] - x[y == c].mean(0) for c in range(6)])
    assert noise.std().item() == pytest.approx(1, rel=0.02)
    again = partition.planted.__wrapped__(3000)
    assert all(torch.equal(a, b) for a, b in zip((x, edges, y), again, strict=True))


def test_features_alone_and_edges_alone_say_less_than_both() -> None:
    """A logistic regression on the features misses far more nodes than the network with the graph."""
    task = tasks.load("gcn-partition")
    x, _, y = partition.planted(3000)
    rows = task.train[0]
    weight = torch.zeros(32, 6, requires_grad=True)
    for _ in range(100):
        (g,) = torch.autograd.grad(
            torch.nn.functional.cross_entropy(x[rows] @ weight, y[rows]) + 1e-2 * weight.square().sum(), weight
        )
        weight = (weight - g).detach().requires_grad_()
    test = task.test[0]
    alone = ((x[test] @ weight).argmax(1) != y[test]).float().mean().item()
    run = st.fit(task, "gnn", progress=False)
    assert run.status == "finished"
    assert run.test["error"] < 0.8 * alone
    assert alone < 1 - 1 / 6 - 0.1


def test_its_arguments_are_checked() -> None:
    with pytest.raises(GraphError, match="a multiple of 6, >= 600; given depth=2, nodes=601"):
        tasks.load("gcn-partition(nodes=601)")
    with pytest.raises(GraphError, match=r"no layer 'gcm'. Did you mean 'gcn'\?"):
        tasks.load("gcn-partition(layer='gcm')")
    with pytest.raises(GraphError, match="no norm 'layer'"):
        tasks.load("gcn-partition(norm='layer')")


@pytest.mark.parametrize("layer", ["sage", "gat", "gin"])
def test_other_layers_train_too(layer: str) -> None:
    task = tasks.load(f"gcn-partition(layer='{layer}', nodes=600)")
    run = st.fit(task, "gnn", steps=40, eval_every=40, progress=False)
    assert run.validation["loss"] < math.log(6)


# ------------------------------------------------------------------------------------------------------------ karate


def test_the_karate_club_is_networkx_with_one_label_a_group() -> None:
    task = tasks.load("karate")
    _, edges, y, _ = karate.club()
    peer = networkx.karate_club_graph()
    assert sorted(map(tuple, edges.T.tolist())) == sorted([*peer.edges, *((b, a) for a, b in peer.edges)])
    assert sorted(task.train[1].tolist()) == [0, 1, 2, 3]
    rows = torch.cat([task.train[0], task.validation[0], task.test[0]])
    assert sorted(rows.tolist()) == list(range(34))
    assert all(torch.equal(y[split[0]], split[1]) for split in (task.train, task.validation, task.test))


# ------------------------------------------------------------------------------------------------------ import graph


def by_grammar(source: str, module: str, package: bool) -> set[str]:
    """The same from Python's own parser."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            above = parts[: len(parts) - node.level + package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.update({base, *(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")} - {""})
    return found


def test_imports_are_those_that_pythons_parser_finds() -> None:
    root = Path(imports.sysconfig.get_paths()["stdlib"])
    files = imports.files_of(root)
    few = [f for f in files if f.startswith(("email/", "json/", "asyncio/b", "xml/", "importlib/", "re/"))] + [
        "os.py",
        "ssl.py",
    ]
    for file in few:
        source, package = (root / file).read_text(), file.endswith("__init__.py")
        module = imports.dotted(file)
        assert imports.imported(imports.bare(source), module, package) == by_grammar(source, module, package), file


def test_the_import_graph_is_that_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "email").mkdir()
    (tmp_path / "email" / "__init__.py").write_text("from . import charset\n")
    (tmp_path / "email" / "charset.py").write_text("import base64\nimport nothing\n")
    (tmp_path / "base64.py").write_text("x = 1\n")
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "__init__.py").write_text("import queue\n")
    x, edges, y, _ = imports.import_graph(str(tmp_path))
    names = [imports.dotted(f) for f in imports.files_of(tmp_path)]
    assert names == ["base64", "email", "email.charset", "queue"]
    joined = {(names[a], names[b]) for a, b in edges.T.tolist()}
    assert joined == {("email", "email.charset"), ("email.charset", "email"),
                      ("base64", "email.charset"), ("email.charset", "base64")}  # fmt: skip
    assert y.tolist() == [len(imports.PARTS), 1, 1, len(imports.PARTS) + 1]
    assert x.shape == (4, len(imports.MARKS)) and torch.isfinite(x).all()


def test_the_standard_library_is_one_graph_with_hubs() -> None:
    _, edges, y, _ = imports.import_graph()
    assert len(y) > 300 and torch.bincount(y, minlength=imports.CLASSES).min() >= 8
    degree = torch.bincount(edges[0], minlength=len(y))
    assert degree.max() > 20 * degree.float().median()


# --------------------------------------------------------------------------------------------------------- molecules


def test_molecules_are_connected_and_keep_their_valences() -> None:
    draw = random.Random(7)
    rings = 0
    for _ in range(200):
        graph = molecules.grown(draw)
        n = int((graph.diagonal() > 0).sum())
        bonds = graph[:n, :n] - np.diag(graph.diagonal()[:n])
        assert (graph == graph.T).all() and not graph[n:].any()
        assert all(bonds[i].sum() <= molecules.VALENCE[graph[i, i] - 1] for i in range(n))
        peer = networkx.from_numpy_array(bonds)
        assert molecules.FEWEST <= n <= molecules.MOST and networkx.is_connected(peer)
        lengths = [len(c) for c in networkx.minimum_cycle_basis(peer)]
        assert all(length <= 6 for length in lengths)
        rings += bool(lengths)
    assert rings > 50


def test_an_energy_is_that_of_the_filled_levels() -> None:
    graphs = torch.from_numpy(np.stack([molecules.grown(random.Random(i)) for i in range(20)]))
    for g, energy in zip(graphs.numpy(), molecules.energies(graphs).tolist(), strict=True):
        n = int((g.diagonal() > 0).sum())
        h = np.diag(np.array(molecules.SITE)[g.diagonal()[:n] - 1]) - (g[:n, :n] - np.diag(g.diagonal()[:n]))
        assert energy == pytest.approx(2 * np.linalg.eigvalsh(h)[: n // 2].sum() / n, abs=1e-9)


def test_the_composition_says_nothing_more() -> None:
    train, validation, _ = molecules.splits()
    known = molecules.composition(train[0])
    assert (known.T @ train[1].double()).abs().max() < 1e-3
    again = torch.linalg.lstsq(known, train[1].double()).solution
    left = (validation[1] - molecules.composition(validation[0]) @ again).square().mean()
    assert left.item() == pytest.approx(validation[1].square().mean().item(), rel=0.02)


def test_a_molecule_in_another_order_is_in_the_same_split() -> None:
    g = torch.from_numpy(molecules.grown(random.Random(1)))
    n = int((g.diagonal() > 0).sum())
    order = torch.cat([torch.randperm(n, generator=torch.Generator().manual_seed(0)), torch.arange(n, molecules.MOST)])
    both = molecules.spectra(torch.stack([g, g[order][:, order]]))
    torch.testing.assert_close(both[0], both[1])
    train, validation, test = molecules.splits()
    y = train[1].double()
    assert y.mean().item() == pytest.approx(0, abs=1e-5) and y.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    levels = [
        {tuple(round(v, 4) for v in row) for row in molecules.spectra(s[0]).tolist()} for s in (train, validation, test)
    ]
    assert not levels[0] & levels[1] and not levels[0] & levels[2] and not levels[1] & levels[2]
    assert split_of("molecules/x", 0.15, 0.15) in ("train", "validation", "test")


def test_a_short_run_finds_some_of_the_shape() -> None:
    """All that composition says is taken away: a loss below 1 comes from the bonds."""
    run = st.fit("molecules", "adamw(lr=3e-3) | cosine", steps=200, eval_every=200, progress=False)
    assert run.validation["loss"] < 0.7


@pytest.mark.slow  # torch_geometric is imported in each worker
def test_compare_runs_them() -> None:
    board = st.compare(
        ["karate", "gcn-partition(nodes=600)"], ["gnn", "adamw(lr=0.01)"], seeds=2, steps=3, progress=False
    )
    found = board.summary["tasks"]
    assert all(row["n"] == 2 for task in found.values() for row in task["leaderboard"])


# --------------------------------------------------------------------------------------------------- preconditioning


@pytest.mark.parametrize("rule", ["kron(lr=0.01)", "shampoo(lr=0.01, every=5)", "soap(lr=0.01)"])
def test_rules_of_matrices_take_convolutions_as_matrices(rule: str) -> None:
    """Kronecker factors of both sides of each weight, under full batches; and they train."""
    task = tasks.load("gcn-partition(nodes=600)")
    run = st.fit(task, rule, steps=40, eval_every=40, progress=False)
    assert run.status == "finished" and run.validation["loss"] < math.log(6)
    model = task.build(0)
    optimizer = st.parse(rule).optimizer(model)
    task.training_loss(model, task.batches(0).batch(0)).backward()
    optimizer.step()
    shapes = {
        tuple(t.shape) for t in optimizer.state[model.layers[0].lin.weight].values() if isinstance(t, torch.Tensor)
    }
    assert (32, 32) in shapes
    shapes = {
        tuple(t.shape) for t in optimizer.state[model.layers[1].lin.weight].values() if isinstance(t, torch.Tensor)
    }
    assert {(6, 6), (32, 32)} <= shapes
