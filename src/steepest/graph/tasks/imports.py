"""Python's own import graph: which part of the standard library is a module from, seen from its code and imports?"""

from __future__ import annotations

import functools
import hashlib
import keyword
import math
import platform
import re
import sysconfig
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

from steepest.graph.adjacency import undirected
from steepest.graph.batches import batched, over_part
from steepest.graph.models import FORMS, Layer, NodeNetwork, chosen
from steepest.tasks.measures import cross_entropy, error
from steepest.tasks.registry import builtin
from steepest.tasks.splits import split_rows
from steepest.tasks.stdlib_text import names as files_of
from steepest.tasks.task import Task, first_of_batch

PARTS = ("asyncio", "email", "importlib", "multiprocessing", "unittest", "xml")
"""The packages that are classes of their own; the others are modules at the top, and all other packages."""
CLASSES = len(PARTS) + 2
MARKS = (*keyword.kwlist, "self", *"()[]{}.,:=+-*/%<>@")
"""What is counted in a module: keywords, signs, and how often an object speaks of itself."""
STRINGS = re.compile(
    r"""(?s)[rbfuRBFU]{0,2}(\"{3}|'{3})(?:\\.|.)*?\1"""
    r"""|[rbfuRBFU]{0,2}("|')(?:\\.|(?!\2)[^\\\n])*\2"""
    r"|#[^\n]*"
)
WORDS = re.compile("|".join([rf"\b(?:{'|'.join([*keyword.kwlist, 'self'])})\b", "[][(){}.,:=+*/%<>@-]"]))
IMPORTS = re.compile(
    r"(?m)^[ \t]*(?:[^\n#]*?[:;][ \t]*)?"
    r"(?:from[ \t]+(\.*)[ \t]*([\w.]*)[ \t]+import[ \t]*(\([^)]*\)|[^\n;]*)|import[ \t]+([^\n;]*))"
)


def dotted(file: str) -> str:
    """The module in a file: ``json/__init__.py`` is ``json``, ``json/decoder.py`` is ``json.decoder``."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def part(module: str, package: bool) -> int:
    """The class of a module."""
    top = module.partition(".")[0]
    if top in PARTS:
        return PARTS.index(top)
    return len(PARTS) + (package or "." in module)


def bare(source: str) -> str:
    """Code without strings and comments, in lines that are whole.

    >>> bare("x = 'import a' + y  # import b")
    'x = "" + y  '
    """
    return STRINGS.sub(lambda found: "" if found[0][0] == "#" else '""', source).replace("\\\n", " ")


def imported(code: str, module: str, package: bool) -> set[str]:
    r"""Every name that the bare code of a module imports, wherever in it, with relative ones resolved.

    >>> sorted(imported("import os.path; from . import decoder\nfrom .scanner import *", "json", True))
    ['json', 'json.decoder', 'json.scanner', 'os.path']
    """
    found: set[str] = set()
    for line in IMPORTS.finditer(code.replace(";", "\n")):
        dots, base, names, plain = line.groups()
        wanted = [part.split(" as ")[0].strip() for part in (plain or names).strip("() \t").split(",")]
        if plain:
            found.update(wanted)
            continue
        parts = module.split(".")
        above = parts[: len(parts) - len(dots) + package] if dots else []
        full = ".".join([*above, *([base] if base else [])])
        found.update({full, *(f"{full}.{name}" for name in wanted if name and name != "*")})
    return {name for name in found if name}


@functools.cache
def import_graph(folder: str = "") -> tuple[Tensor, Tensor, Tensor, str]:
    """Features, edges, classes of the modules of the library in ``folder`` (default: the running one's), and a hash.

    Features are logarithms of how often each keyword and sign occurs, with mean 0 and variance 1 over all modules. An
    edge is an import in either direction; a module and the package that it is in are joined only if one says so.
    """
    root = Path(folder or sysconfig.get_paths()["stdlib"])
    files = files_of(root)
    modules = {dotted(file): i for i, file in enumerate(files)}
    counts = torch.zeros(len(files), len(MARKS))
    pairs: list[tuple[int, int]] = []
    digest = hashlib.blake2b(digest_size=8)
    for i, (file, module) in enumerate(zip(files, modules, strict=True)):
        source = (root / file).read_bytes()
        digest.update(source)
        code = bare(source.decode("utf-8", "replace").replace("\r\n", "\n"))
        seen = Counter(WORDS.findall(code))
        counts[i] = torch.tensor([seen[mark] for mark in MARKS])
        wanted = imported(code, module, file.endswith("__init__.py"))
        pairs += [(i, modules[name]) for name in sorted(wanted) if name in modules and modules[name] != i]
    x = counts.log1p()
    x = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-6)
    y = torch.tensor([part(module, file.endswith("__init__.py")) for module, file in zip(modules, files, strict=True)])
    return x, undirected(torch.tensor(pairs).T), y, digest.hexdigest()


def network(layer: Layer) -> nn.Module:
    """Two convolutions over the modules."""
    x, edges, _, _ = import_graph()
    return NodeNetwork(x, edges, CLASSES, layer)


@builtin("import-graph")
def import_graph_task(layer: str = "gcn", batch: str = "full") -> Task:
    """The standard library's modules and who imports whom: which package is each module from?

    Six packages are classes; modules at the top and all other packages are the last two. Features count keywords and
    signs, so no name is seen.

    Args:
        layer: ``"gcn"``, ``"sage"``, ``"gat"`` or ``"gin"``.
        batch: ``"full"``, ``"random_nodes:4"`` or ``"neighbours:32:10,5"`` (:func:`steepest.graph.batches.batched`).

    Reason: a real graph with hubs and unequal classes, small enough to overfit.
    Source: the Python standard library of the running interpreter.
    """
    kind = chosen(layer, Layer, "layer")
    _, edges, y, digest = import_graph()
    train, validation, test = split_rows("import-graph", torch.arange(len(y)), y)
    return Task(
        name="import-graph",
        model=functools.partial(network, kind),
        loss=cross_entropy,
        train=batched(batch, train, edges, len(y), form=FORMS.get(kind), depth=2),
        forward=first_of_batch if batch == "full" else over_part,
        validation=validation,
        test=test,
        metrics={"error": error},
        batch_size=4096,
        steps=200,
        eval_every=10,
        description=f"Modules of the standard library and their imports, {layer} network, {CLASSES} classes",
        source="the Python standard library of the running interpreter",
        facts={
            "library": digest,
            "python": platform.python_version(),
            "modules": len(y),
            "imports": edges.shape[1] // 2,
            "chance": math.log(CLASSES),
        },
    )
