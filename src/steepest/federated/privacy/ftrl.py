"""Privacy without secret samples: noise on the sum of all rounds so far, from a tree over the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from steepest.federated.privacy.accounting import Ledger, Release
from steepest.federated.privacy.mechanism import Guard, Privacy, mechanism
from steepest.federated.privacy.noise import Noise, rounded
from steepest.federated.privacy.tree import TreeNoise


@mechanism
class Ftrl(Privacy):
    """DP-FTRL: the noise of a round is mostly that of earlier rounds taken back, and who takes part need be no secret.

    Clients come in turn: in an epoch of ``N / sample`` rounds everybody takes part once. Each epoch has a tree of its
    own; what is released are the noisy sums of its rounds so far, and any server rule may step by their differences.
    Noise over ``clip`` is that of one node.

    Neighbours differ in whether one client's part is zero; a round lies in as many nodes as the number of rounds of an
    epoch has binary digits, and epochs compose.

    Source: Kairouz et al. 2021, arXiv:2103.00039, Algorithm 1 and appendix B; tree restarts: section 4.

    Example:
        >>> Ftrl(eps=8)
        ftrl(eps=8)
    """

    neighbours: ClassVar[str] = "one client's part zero"

    def ledger(self, noise: float, rounds: int, sample: int, able: int) -> Ledger:
        steps = -(-able // sample)
        whole, rest = divmod(rounds, steps)
        found = [(Release("tree", noise, steps), whole)] if whole else []
        return (*found, (Release("tree", noise, rest), 1)) if rest else tuple(found)

    def guard(self, able: Sequence[int], sample: int, rounds: int, size: int, noise: Noise) -> Guard:
        return FtrlGuard(self, able, sample, rounds, size, noise)


class FtrlGuard(Guard):
    """:class:`Ftrl` at work."""

    def __init__(self, plan: Ftrl, able: Sequence[int], sample: int, rounds: int, size: int, noise: Noise) -> None:
        super().__init__(plan, able, sample, rounds, size, noise)
        self.tree = TreeNoise(noise, size)

    def sampled(self, turn: int) -> list[int]:
        epoch, place = divmod(turn, -(-len(self.able) // self.sample))
        order = np.argsort(self.source.uniform(len(self.able), "clients", epoch), kind="stable")
        return sorted(self.able[i] for i in order[place * self.sample : (place + 1) * self.sample].tolist())

    def release(self, total: Tensor, turn: int) -> Tensor:
        steps = -(-len(self.able) // self.sample)
        if turn and turn % steps == 0:
            self.tree.restart()
        self.spent += 1
        sigma = self.noise * self.bound
        return rounded(total + sigma * self.tree.next(), sigma) / self.sample

    def keep(self) -> dict[str, Any]:
        return {**super().keep(), "tree": self.tree.keep()}

    def restore(self, saved: dict[str, Any]) -> None:
        super().restore(saved)
        self.tree.restore(saved["tree"])
