"""Privacy of single rows: each client trains so that nothing that leaves it tells of one of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from steepest.federated.privacy.accounting import Ledger, Release
from steepest.federated.privacy.local import Local, LocalGuard
from steepest.federated.privacy.mechanism import Guard, mechanism
from steepest.federated.privacy.noise import Noise
from steepest.federated.privacy.stepping import Stepping


@mechanism
class Examples(Local):
    r"""DP-SGD at every client: gradients of single rows are cut to a length, added up, and get noise before each step.

    .. math:: g = \frac{1}{B} \Bigl(\sum_{r \in \text{batch}} g_r \min\bigl(1, C / \lVert g_r \rVert\bigr)
        + \mathcal{N}(0, z^2 C^2 I)\Bigr)

    A batch takes each of the client's rows with probability :math:`q = B / n_i`, on its own; there is noise where it is
    empty, too. ``clip`` is :math:`C`, in units of a gradient. A row is at one client only, so what counts is the client
    with the fewest rows, and the most steps. How many rows a client has is no secret here.

    Nobody need be trusted but one's own client, and all that the server does is done with what is private already.

    Source: Abadi et al. 2016, arXiv:1607.00133, Algorithm 1; gradients of single rows are Opacus's.

    Example:
        >>> Examples(eps=8, clip=2.0)
        examples(eps=8, clip=2.0)
    """

    neighbours: ClassVar[str] = "one row more or less at one client"

    def guard(self, able: Sequence[int], sample: int, rounds: int, size: int, noise: Noise) -> Guard:
        return ExamplesGuard(self, able, sample, rounds, size, noise)


class ExamplesGuard(LocalGuard):
    """:class:`Examples` at work."""

    batch = steps = fewest = 1

    def meet(self, run: Any) -> None:
        self.batch, self.steps = run.fed.batch, run.settings.steps
        self.fewest = int(run.clients.sizes[self.able].min())
        run.engine = Stepping(run, self)
        run.fed.engine, run.fed.reason = run.engine.name, "each client's steps are private by themselves"

    def _ledger(self, noise: float, many: int) -> Ledger:
        hidden = self.batch < self.fewest
        release = Release("poisson", noise, self.batch if hidden else 1, self.fewest if hidden else 1)
        return ((release, many * self.steps),) if many else ()

    def bounded(self, x: Tensor, clients: Sequence[int], turn: int) -> Tensor:
        return x
