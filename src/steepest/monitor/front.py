"""``with st.monitor(model, optimizer) as m``: the front door."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steepest.core.records import RUN, provenance, write_json
from steepest.monitor.monitor import Monitor
from steepest.monitor.presets import Preset
from steepest.monitor.presets import preset as chosen
from steepest.monitor.writers import Records, Writer

SUMMARY = "monitor.json"
"""What the monitor says of itself, beside ``metrics.jsonl``."""


@contextmanager
def monitor(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    preset: str | Preset = "economy",
    every: int | None = None,
    out: str | Path | None = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    writers: Sequence[Writer] = (),
) -> Iterator[Monitor]:
    """Watch training from inside, in any loop and with any ``torch.optim`` optimizer; what is trained stays as it was.

    Args:
        model: What is trained.
        optimizer: What trains it. steepest's own sum while they step; for others the weights are copied at each
            measured step.
        preset: ``"economy"`` (what the step knows: norms, clipping, update ratios), ``"normal"`` (and probes that cost
            about a step) or ``"full"`` (and the curvature); or a :class:`~steepest.monitor.presets.Preset`.
        every: Steps between lines, in place of the preset's.
        out: Folder for ``metrics.jsonl``, which ``steepest watch``, ``report`` and ``doctor`` read.
        loss: ``loss(model, batch)``, the mean over a batch: for probes that run the model. They use the batch that
            ``m.see(batch)`` showed last; without either they are left out.
        writers: More places to write to; see :mod:`steepest.monitor.writers`.

    >>> model = nn.Linear(3, 1)
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    >>> with monitor(model, optimizer, every=1) as m:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         model(torch.ones(4, 3)).square().mean().backward()
    ...         _ = m.clip_grad_norm_(1.0)
    ...         optimizer.step()
    >>> m.latest["monitor"]["step"], sorted(m.latest["monitor"])[:3]
    (3, ['clip_fraction', 'grad_norm', 'grad_norm_clipped'])
    """
    records = Records(out) if out is not None else None
    made = Monitor(model, optimizer, chosen(preset, every), [*([records] if records else []), *writers], loss)
    if out is not None and not (Path(out) / RUN).exists():
        write_json(Path(out) / RUN, _described(model, optimizer))
    if out is not None:
        (Path(out) / SUMMARY).unlink(missing_ok=True)  # of a training before this one
    made.attach()
    try:
        yield made
    finally:
        made.detach()
        if records is not None and out is not None:
            records.close()
            write_json(Path(out) / SUMMARY, made.summary())


def _described(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A ``run.json`` for a loop of somebody else's."""
    name = type(optimizer).__name__
    return {
        "task": type(model).__name__,
        "strategy": name,
        "label": name,
        "seed": 0,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        **provenance(),
    }
