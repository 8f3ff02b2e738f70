"""Who steps with whom."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from steepest.fleet.abreast import Abreast, kind_of
from steepest.fleet.members import Lane
from steepest.fleet.numbers import NotAlike
from steepest.fleet.squad import Own, Squad
from steepest.fleet.stack import Stack


def in_order(lanes: Sequence[Lane]) -> list[Lane]:
    """Members that can step together side by side, else as they were."""
    kinds: dict[Any, int] = {}
    place = {lane.number: kinds.setdefault(kind_of(lane), len(kinds)) for lane in lanes}
    return sorted(lanes, key=lambda lane: (place[lane.number], lane.number))


def squads(lanes: Sequence[Lane], stack: Stack) -> list[Squad]:
    """The squads of members that stand :func:`in_order` in a stack."""
    found: list[Squad] = []
    low = 0
    for kind, group in groupby(lanes, key=kind_of):
        own = list(group)
        try:
            if kind is None:
                raise NotAlike
            found.append(Abreast(own, stack, low))
        except NotAlike:
            found.append(Own(own, stack, low))
        low += len(own)
    return found
