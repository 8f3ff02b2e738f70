"""Early stopping: a run ends when validation has not become better for a while."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from steepest.core.ending import Ending
from steepest.core.errors import HyperparameterError, did_you_mean
from steepest.core.piece import piece
from steepest.core.wrapper import Wrapper
from steepest.wrappers.whole import whole

Constant = float
"""A number that no schedule moves."""
Watches = Literal["metric", "loss"]


class Patience:
    r"""Count the evaluations since the last one that was better.

    .. math::
        v_t < b_{t-1} - \delta: \quad b_t = v_t,\ n_t = 0; \qquad \text{else} \quad b_t = b_{t-1},\ n_t = n_{t-1} + 1;
        \qquad \text{the run is over where } n_t \ge \text{patience}

    The first finite value is better than nothing (:math:`b_0 = \infty`); one that is not finite is never better.

    In a loop of your own, after each evaluation:

        >>> ending = Patience(patience=2)
        >>> for loss in (1.0, 0.8, 0.9, 0.85):
        ...     ending.observe(loss)  # smaller is better: give -accuracy
        ...     if ending.improved:
        ...         pass  # keep a copy of model.state_dict()
        >>> ending.over, ending.best, ending.best_at
        (True, 0.8, 2)
    """

    def __init__(
        self, patience: int = 10, watches: Watches = "metric", min_delta: float = 0.0, restores: bool = True
    ) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.watches, self.restores = watches, restores
        self.best: float | None = None
        self.seen, self.best_at = 0, 0

    @property
    def over(self) -> bool:
        """Whether training ends here."""
        return self.seen - self.best_at >= self.patience

    @property
    def improved(self) -> bool:
        """Whether the newest value is the best so far."""
        return self.seen > 0 and self.best_at == self.seen

    def observe(self, value: float) -> None:
        """Hear the newest value on validation data; smaller is better."""
        value = float(value)
        self.seen += 1
        if math.isfinite(value) and (self.best is None or value < self.best - self.min_delta):
            self.best, self.best_at = value, self.seen

    def state_dict(self) -> dict[str, Any]:
        """The best value, and the counts."""
        return {"best": self.best, "seen": self.seen, "best_at": self.best_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.best, self.seen, self.best_at = state["best"], int(state["seen"]), int(state["best_at"])


@dataclass(frozen=True)
class EarlyStopping(Wrapper):
    """Steps as without it; only their number is not known before."""

    patience: int
    watch: Watches
    min_delta: float
    restore: bool

    alone: ClassVar[str] = "ends a run early"

    def ending(self) -> Ending:
        """Its memory, made once for an optimizer."""
        return Patience(self.patience, self.watch, self.min_delta, self.restore)


@piece("wrapper")
def early_stopping(
    patience: int = 10, watch: Watches = "metric", min_delta: Constant = 0.0, restore: bool = True
) -> Wrapper:
    """End the run when validation has not become better for a while, and hand over the weights that were best.

    ``fit``, ``train``, ``compare`` and fleets ask it after each evaluation on their clock (``eval_every`` steps); the
    one at the very end, if it is off that clock, does not count. In a loop of your own tell
    ``optimizer.ending.observe(...)`` and ask ``optimizer.ending.over``
    (:class:`~steepest.wrappers.early_stopping.Patience`). Where weights are averaged the averages are judged and kept.

    Args:
        patience: Evaluations in a row, none better than the best before, after which the run ends.
        watch: ``"metric"``: what the task selects by; ``"loss"``.
        min_delta: The smallest gain that counts, in units of what is watched, >= 0.
        restore: Hand over the weights of the best evaluation, however the run ended; False: those of the last step.

    Use when: a model learns its training data by heart, and validation data tell when; graph networks on few labels.
    Not when: the learning rate falls to its end at the planned length (cosine, wsd): a run that ends early never gets
        there. The validation value of weights that were chosen by it looks better than they are: read the test split.
    Differs from: the code of Kipf and Welling, which ends where the loss is above the mean of the ten before, and of
        GAT, which waits while loss or accuracy becomes better.
    Source: Prechelt 1998, doi:10.1007/3-540-49430-8_3; patience 10: Kipf and Welling 2016, arXiv:1609.02907, section
        5.2 (without going back to the best); 100: Veličković et al. 2017, arXiv:1710.10903, section 3.3.
    """
    if watch not in ("metric", "loss"):
        raise HyperparameterError(f"early_stopping: no watch {watch!r}. {did_you_mean(watch, ('metric', 'loss'))}")
    if not 0 <= min_delta < math.inf:
        raise HyperparameterError(f"early_stopping: min_delta must lie in [0, inf); got {min_delta!r}.")
    return EarlyStopping(whole("early_stopping: patience", patience), watch, min_delta, restore)
