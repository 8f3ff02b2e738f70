"""Rounds in which the server works with one vector: the sum of what came, with noise on it, or added in secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from steepest.core.records import CHECKPOINT
from steepest.federated import privacy, secure
from steepest.federated.clients import Work
from steepest.federated.inbox import sort
from steepest.federated.local import Found
from steepest.federated.method import Round
from steepest.federated.receiving import accept, lied

if TYPE_CHECKING:
    from steepest.federated.rounds import Rounds


def guard_of(run: Rounds) -> privacy.Guard | None:
    """What keeps a promise of privacy in a run; None where none was given."""
    plan, folder = run.settings.privacy, run.folder
    if plan is None:
        return None
    begun = folder is not None and (folder / CHECKPOINT).exists()
    key = privacy.key_of(folder, plan.random, run.settings.seed, begun)
    made: privacy.Guard = plan.guard(
        run.clients.able, run.fed.sampled, run.rounds, run.vectors.size, privacy.Noise(key)
    )
    return made


def sealed_of(run: Rounds) -> secure.SecureUplink | None:
    """How sums are taken in secret in a run; None where they are not."""
    s = run.settings
    if s.secure is None:
        return None
    weighted = run.method.weighting == "samples"
    top = int(run.clients.sizes.max()) if weighted else 1
    shapes = [run.vectors.shapes[name] for name in run.vectors.names]
    return secure.SecureUplink(
        s.secure, s.compress, shapes, run.stores.get("rest"), s.fade, s.seed, top, s.privacy is not None
    )


def step(run: Rounds, view: Round, found: Found, deltas: Tensor, away: list[int]) -> int:
    """One round's end: the server steps along what it learns; bytes that clients sent."""
    guard, sealed, t = run.guard, run.sealed, view.turn
    found.buffers = {}
    if guard is not None and guard.plan.single:
        rows = guard.bounded(deltas, view.clients, t)
        guard.counted(view.clients)
        arrived, received = run.up.send(view.clients, rows, t, away)
        accept(run, view, found, arrived)
        return received
    bound = (lambda x, who: x) if guard is None else (lambda x, who: guard.bounded(x, who, t))
    if sealed is None:
        arrived, received = run.up.send(view.clients, deltas, t, away)
        places, sound, run.rejected = sort(view.clients, lied(run, view, arrived), run.vectors.size, view.clients)
        there = [view.clients[p] for p in places]
        total, weight = bound(sound, there).sum(0), float(len(there))
    else:
        rows = lied(run, view, bound(deltas, view.clients))
        sizes = [int(run.clients.sizes[c]) if run.method.weighting == "samples" else 1 for c in view.clients]
        size = run.vectors.size if guard is None else len(guard.empty())
        asked = run.course.sampled(t)
        done = sealed.send(asked, view.clients, rows, sizes, t, away, size)
        run.rejected, total, weight, received, there = done.rejected, done.total, done.weight, done.up, done.there
        run.traffic.down += done.down
        view.notes["secure_bytes"] = float(done.up + done.down)
        if done.problem is not None:
            view.notes["no_sum"] = done.problem  # type: ignore[assignment]
    run.refused += len(run.rejected)
    view.clients = there
    if guard is not None:
        _move(run, view, guard.release(total, t))
    elif weight:
        _move(run, view, total / weight)
    return received


def nobody(run: Rounds, turn: int, w: Tensor) -> dict[str, Any]:
    """A round in which nobody came: there is noise all the same, so that this does not show. What the records say."""
    guard = run.guard
    if guard is None:
        return {}
    if guard.plan.single:
        guard.counted([])
        return {}
    none, nothing = torch.empty(0), torch.empty(0, dtype=torch.long)
    work = Work(np.empty(0, dtype=np.int64), nothing.view(0, 0, 0), nothing.view(0, 0))
    view = Round(
        turn=turn, clients=[], many=len(run.clients.able), w=w, lr=run.rate(turn), rows={}, vectors=dict(run.kept),
        seen=none.bool(), work=work, start=w, buffers={}, lag=nothing,
    )  # fmt: skip
    _move(run, view, guard.release(guard.empty(), turn))
    return dict(view.notes)


def _move(run: Rounds, view: Round, mean: Tensor) -> None:
    """Let the method make its update of the mean alone."""
    view.deltas, view.weights, view.steps = mean[None], torch.ones(1, dtype=torch.float64), torch.empty(0)
    view.rows, view.combine = {}, lambda x, p: x[0]
    for name in ("losses_at", "gradients_at", "gradients", "train", "features_at"):
        setattr(view, name, _closed)
    update = run.method.finish(view)
    run.kept = dict(view.vectors)
    view.notes["update_norm"] = float(update.norm())
    run.server.step(update)


def _closed(*_: Any) -> Any:
    raise RuntimeError("the server of a private or secret round has the mean of the updates, and nothing else")
