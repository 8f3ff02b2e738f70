"""When is a run lost? Said as a result, with the step at which it happened."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

SKIPS = 10
"""So many steps in a row that the NaN guard refused: nothing moves any more."""
FACTOR, PATIENCE = 1e3, 100
"""A loss beyond FACTOR times the first one (or 1, if that is larger), for PATIENCE steps in a row."""


@dataclass
class Watch:
    """Looks at every step's loss and says when the run has diverged.

    A loss that is not finite ends the run at once, unless the strategy's guard refused the step: then the model is
    still sound, and only :data:`SKIPS` refusals in a row end it.

    >>> watch = Watch()
    >>> watch.see(1, 0.7, skipped=False)
    >>> watch.see(2, float("nan"), skipped=False)
    'loss became NaN at step 2'
    """

    initial: float | None = None
    high: int = 0
    skips: int = 0
    skipped: int = 0
    first_skip: int = 0
    first_why: str = ""
    since: int = 0
    why: str = ""

    def see(self, step: int, loss: float, skipped: bool, norm: float = math.nan) -> str | None:
        """What went wrong for good at this step, or None; ``norm`` is the gradient's, where it is known."""
        what = f"gradient norm was {norm:.4g}" if math.isfinite(norm) else "gradient was not finite"
        what = what if math.isfinite(loss) else f"loss became {_name(loss)}"
        if skipped:
            if not self.skips:
                self.since, self.why = step, what
            if not self.skipped:
                self.first_skip, self.first_why = step, what
            self.skips += 1
            self.skipped += 1
            if self.skips >= SKIPS:
                return f"{self.why} at step {self.since} and stayed so: {self.skips} steps in a row were skipped"
            return None
        self.skips = 0
        if not math.isfinite(loss):
            return f"{what} at step {step}"
        if self.initial is None:
            self.initial = loss
        bound = FACTOR * max(1.0, abs(self.initial))
        self.high = self.high + 1 if loss > bound else 0
        if self.high >= PATIENCE:
            return f"loss stayed above {bound:.4g}, {FACTOR:g} times its start, for {PATIENCE} steps up to step {step}"
        return None

    def calm(self, loss: float) -> bool:
        """Whether a step that was not skipped needs no closer look: then this is all that :meth:`see` would do."""
        if self.initial is None or not abs(loss) <= FACTOR:
            return False
        self.skips = self.high = 0
        return True

    def summary(self) -> str:
        """What a finished run has to say about its skipped steps; empty when there were none."""
        if not self.skipped:
            return ""
        steps = "1 step was" if self.skipped == 1 else f"{self.skipped} steps were"
        return f"{steps} skipped; the first was step {self.first_skip}, where the {self.first_why}"

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return asdict(self)


def _name(loss: float) -> str:
    return "NaN" if math.isnan(loss) else "infinite"
