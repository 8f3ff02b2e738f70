"""What a run leaves behind, in memory and in its folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from steepest.core.records import METRICS, read_metrics


def failure(message: str, trace: str = "") -> dict[str, Any]:
    """The result of a run that an error or a crash ended."""
    nothing = ("test", "best_validation", "time_to_target_steps", "skipped_steps", "monitor", "executor")
    return {
        "status": "failed",
        **dict.fromkeys(("steps", "gradient_evaluations", "seconds", "cpu_seconds")),
        "validation": {},
        **dict.fromkeys((*nothing, "early_stopping")),
        "message": message,
        "notes": [],
        "traceback": trace,
    }


@dataclass(frozen=True)
class Run:
    """One training run: how it ended and, where there is a folder, everything it wrote.

    ``result`` is the content of ``result.json``; its fields are described in ``docs/records.md``.
    """

    result: dict[str, Any]
    folder: Path | None = None
    model: nn.Module | None = field(default=None, repr=False)
    lines: list[dict[str, Any]] | None = field(default=None, repr=False)

    @property
    def status(self) -> str:
        """``"finished"``, ``"diverged"`` or ``"stopped"`` (and ``"failed"`` in a comparison)."""
        return str(self.result["status"])

    @property
    def message(self) -> str:
        """What there is to say about how it ended; may be empty."""
        return str(self.result["message"])

    @property
    def validation(self) -> dict[str, float | None]:
        """Loss and metrics on the validation split at the end; None where the run has no such value."""
        return dict(self.result["validation"])

    @property
    def test(self) -> dict[str, float | None] | None:
        """Loss and metrics on the test split, measured once at the end of a finished run."""
        return None if self.result["test"] is None else dict(self.result["test"])

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``: all of them, or those of a kind (``"train"``, ``"eval"``)."""
        lines = read_metrics(self.folder / METRICS) if self.folder is not None else (self.lines or [])
        return [line for line in lines if kind in (None, line["kind"])]
