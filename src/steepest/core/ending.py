"""What may end a run before its length is over, as optimizer and loop meet it."""

from __future__ import annotations

from typing import Any, Literal, Protocol


class Ending(Protocol):
    """A way to stop early at work; :class:`steepest.wrappers.early_stopping.Patience` is one."""

    watches: Literal["metric", "loss"]
    """What of an evaluation it is told: the metric that selection looks at, or the loss."""
    restores: bool
    """Whether the weights of the best evaluation are those to hand over."""

    @property
    def over(self) -> bool:
        """Whether training ends here."""

    @property
    def improved(self) -> bool:
        """Whether the newest value is the best so far."""

    @property
    def best_at(self) -> int:
        """Which value was the best, counted from 1; 0 where there is none."""

    def observe(self, value: float) -> None:
        """Hear the newest value on validation data; smaller is better."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
