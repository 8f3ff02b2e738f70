"""What the doctor says: one finding, and the thing to try against it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["fact", "suspicion", "unknown"]
Severity = Literal["broken", "costly", "remark"]
STATES: tuple[State, ...] = ("fact", "suspicion", "unknown")
SEVERITIES: tuple[Severity, ...] = ("broken", "costly", "remark")


@dataclass(frozen=True)
class Try:
    """One change that would show whether a finding is right.

    Attributes:
        words: What to do, in a sentence.
        strategy: The whole strategy to run, as text that parses; None where no strategy mends it.
        steps: Length of the trial; None: long enough to see it (the trial chooses).
        whole: Whether only a run of full length shows it.
        early: Whether only a run from the start shows it.
    """

    words: str
    strategy: str | None = None
    steps: int | None = None
    whole: bool = False
    early: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing about a run.

    Attributes:
        rule: The rule that found it: the name of its file.
        state: ``"fact"`` (measured as it stands), ``"suspicion"`` (the usual cause of what was measured) or
            ``"unknown"`` (the records do not hold what the rule needs; ``said`` is what is missing).
        severity: ``"broken"`` (training does not work), ``"costly"`` (a worse result than need be, or a dearer one) or
            ``"remark"`` (harmless; worth knowing).
        said: The finding in a sentence.
        steps: First and last step of the evidence; None where it is no matter of steps.
        numbers: What was measured, and the threshold it was held against.
        source: Where the rule comes from: arXiv id, or the document.
        test: One thing to try.
    """

    rule: str
    state: State
    severity: Severity
    said: str
    steps: tuple[int, int] | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    source: str = ""
    test: Try | None = None

    @property
    def alarm(self) -> bool:
        """Whether something should be done."""
        return self.state != "unknown" and self.severity != "remark"

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in a list: broken before costly, facts before suspicions."""
        return (SEVERITIES.index(self.severity) if self.state != "unknown" else 9, STATES.index(self.state))

    def record(self) -> dict[str, Any]:
        """Plain data."""
        return {name: value for name, value in asdict(self).items() if name != "steps"} | {
            "steps": None if self.steps is None else list(self.steps)
        }
