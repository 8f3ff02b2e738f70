"""Made-up clients that differ as much as one asks: in what they see, and in what they are to say of it."""

from __future__ import annotations

import ast
import re
from functools import partial

import numpy as np
import torch
from torch import nn

from steepest.federated.errors import FederationError
from steepest.federated.partition import Partition
from steepest.tasks.measures import cross_entropy, error
from steepest.tasks.randomness import mix
from steepest.tasks.task import Task

FEATURES, CLASSES = 60, 10


def linear() -> nn.Module:
    """Logistic regression: 610 parameters."""
    return nn.Linear(FEATURES, CLASSES)


def synthetic(
    alpha: float = 1.0, beta: float = 1.0, clients: int = 30, *, iid: bool = False, most: int = 1000, seed: int = 0
) -> tuple[Task, Partition]:
    r"""A task of linear classification, and its clients.

    Client :math:`k` has :math:`y = \arg\max(W_k x + b_k)` with :math:`x \sim N(v_k, \Sigma)`, where
    :math:`\Sigma_{jj} = j^{-1.2}` for 60 features, and

    .. math::
        u_k \sim N(0, \alpha^2), \quad W_k, b_k \sim N(u_k, 1), \qquad B_k \sim N(0, \beta^2), \quad v_k \sim N(B_k, 1)

    entry by entry, for 10 classes: ``alpha`` says how far clients differ in what is right, ``beta`` in what they see.

    Args:
        alpha: :math:`\alpha`, in [0, inf).
        beta: :math:`\beta`, in [0, inf).
        clients: How many.
        iid: All have one :math:`W, b` and :math:`v = 0`.
        most: Rows of a client at most; a tenth each of everybody's rows is for validation and for test.
        seed: Fixes the problem.

    Differs from: the paper only in ``most``: sizes there are 50 and a lognormal number with no bound, up to many
    thousands. That :math:`\alpha` and :math:`\beta` are standard deviations is as the authors' code has it.
    Source: Li et al. 2018, arXiv:1812.06127, section 5.1 and appendix C.1.

    >>> task, dealt = synthetic(0.5, 0.5, clients=5)
    >>> task.name, len(dealt)
    ('synthetic(0.5, 0.5)', 5)
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise FederationError(f"synthetic: {name} must be a number >= 0; given {value!r}.")
    if isinstance(clients, bool) or not isinstance(clients, int) or clients < 1:
        raise FederationError(f"synthetic: clients must be a whole number >= 1; given {clients!r}.")
    random = np.random.default_rng(mix(seed, "synthetic", repr(float(alpha)), repr(float(beta)), clients, int(iid)))
    sizes = np.minimum(most, np.floor(np.exp(random.normal(4, 2, clients))) + 50).astype(int)
    scale = np.arange(1, FEATURES + 1) ** -0.6
    shared = random.normal(0, 1, (FEATURES + 1, CLASSES))
    parts = []
    for n in sizes:
        u, b = random.normal(0, 1) * alpha, random.normal(0, 1) * beta
        W = shared if iid else random.normal(u, 1, (FEATURES + 1, CLASSES))
        v = np.zeros(FEATURES) if iid else random.normal(b, 1, FEATURES)
        x = v + scale * random.normal(0, 1, (n, FEATURES))
        parts.append((x, (x @ W[:-1] + W[-1]).argmax(1), np.arange(n) * 10 // n))
    split = np.concatenate([place for _, _, place in parts])
    data = (np.concatenate([x for x, _, _ in parts]), np.concatenate([y for _, y, _ in parts]))
    inputs, labels = torch.from_numpy(data[0]).float(), torch.from_numpy(data[1])
    train, validation, test = (torch.from_numpy(split < 8), torch.from_numpy(split == 8), torch.from_numpy(split == 9))
    kept = [int((place < 8).sum()) for _, _, place in parts]
    rows = np.split(np.arange(sum(kept)), np.cumsum(kept)[:-1])
    name = f"synthetic({'iid' if iid else f'{alpha:g}, {beta:g}'})"
    task = Task(
        name=name,
        model=partial(linear),
        loss=cross_entropy,
        train=(inputs[train], labels[train]),
        validation=(inputs[validation], labels[validation]),
        test=(inputs[test], labels[test]),
        metrics={"error": error},
        batch_size=10,
        description=f"Linear classification of {clients} made-up clients, {FEATURES} features, {CLASSES} classes",
        source="Li et al. 2018, arXiv:1812.06127",
    )
    return task, Partition(rows, sum(kept), name)


def problem(text: str, clients: int = 30) -> tuple[Task, Partition] | None:
    """What ``synthetic(1, 1)`` or ``synthetic(iid)`` says; None for a text that is no such thing.

    >>> problem("synthetic(iid)", 3)[0].name, problem("digits-mlp")
    ('synthetic(iid)', None)
    """
    match = re.fullmatch(r"\s*synthetic\s*(?:\((.*)\))?\s*", text)
    if match is None:
        return None
    said = (match[1] or "1, 1").strip()
    if said == "iid":
        return synthetic(0.0, 0.0, clients, iid=True)
    try:
        alpha, beta = ast.literal_eval(f"({said})")
    except (SyntaxError, ValueError, TypeError):
        raise FederationError(f"cannot read {text!r}. Write synthetic(ALPHA, BETA) or synthetic(iid).") from None
    return synthetic(alpha, beta, clients)
