"""Weight decay on some parts of a model alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steepest.core.piece import piece
from steepest.transfer.layers import DepthError, check_parts, module_of, parts


@dataclass(frozen=True)
class DecayOnly:
    """Splits groups by whether a parameter is in one of the parts, and takes the decay of the others away."""

    parts: tuple[str, ...]

    def deal(self, groups: Sequence[dict[str, Any]], source: Any) -> list[dict[str, Any]]:
        """Each group that decays once for the parts and once, without decay, for the rest."""
        inside = set(parts(module_of(source, "decay_only"), self.parts, "decay_only"))
        if not any(group.get("weight_decay") for group in groups):
            methods = ", ".join(sorted({group["method"] for group in groups}))
            raise DepthError(f"decay_only says where weight decay acts, and {methods} has none. Give it weight_decay.")
        found = []
        for group in groups:
            dealt: dict[bool, list[Any]] = {}
            for name, p in group["params"]:
                dealt.setdefault(name in inside or not group.get("weight_decay"), []).append((name, p))
            for keeps, own in dealt.items():
                other = {} if keeps else {"name": f"rest/{group['name']}", "weight_decay": 0.0}
                found.append({**group, **other, "params": own})
        return found


@piece("groups")
def decay_only(*where: str) -> DecayOnly:
    """Weight decay on some parts of the model: ``decay_only("layer 0")`` decays the first layer alone.

    Parts are named as in ``rates``: ``"head"``, ``"layer 0"``, paths such as ``"blocks.3"``, or patterns such as
    ``"*.weight"``. Biases and other vectors stay spared unless ``decay_all`` says otherwise.

    Args:
        where: The parts.

    Use when: a graph network is trained on few labels: its first layer alone is decayed, as published.
    Not when: layers are alike, as in a transformer.
    Source: Kipf and Welling 2016, arXiv:1609.02907, section 5.2 (L2 on the first layer of a graph network).
    """
    return DecayOnly(check_parts("decay_only", where))
