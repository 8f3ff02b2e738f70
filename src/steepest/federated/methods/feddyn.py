"""FedDyn: each client's loss is bent so that all agree where the sum of the losses is smallest."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from steepest.core.rule import hyper
from steepest.federated.local import Pull
from steepest.federated.method import Method, Round, Weighting, method


@method
class FedDyn(Method):
    r"""Dynamic regularisation: a linear term remembers a client's gradient, a quadratic one holds it near the server.

    .. math::
        y_i = \arg\min_y f_i(y) - \langle g_i, y \rangle + \frac{\alpha}{2} \lVert y - x \rVert^2, \qquad
        g_i \leftarrow g_i - \alpha (y_i - x)

    .. math::
        h \leftarrow h - \frac{\alpha}{N} \sum_{i \in S} (y_i - x), \qquad
        x \leftarrow \frac{1}{|S|} \sum_{i \in S} y_i - \frac{h}{\alpha}

    Args:
        alpha: :math:`\alpha`, in units of a loss over a squared weight, in (0, inf).

    Memory: a vector a client and one at the server; nothing more is sent.
    Not when: clients take part so seldom that their :math:`g_i` are of another time; clip the clients' gradients then.
    Source: Acar et al. 2021, arXiv:2111.04263, Algorithm 1.

    Example:
        >>> FedDyn(alpha=0.01)
        feddyn(alpha=0.01)
    """

    alpha: float = hyper(0.1, "(0, inf)")
    weighting: Weighting = "equal"

    rows: ClassVar[tuple[str, ...]] = ("g",)
    vectors: ClassVar[tuple[str, ...]] = ("h",)

    def begin(self, round: Round) -> tuple[Tensor | None, Pull]:
        return None, Pull(constant=-round.rows["g"], mu=self.alpha)

    def finish(self, round: Round) -> Tensor:
        round.rows["g"] = round.rows["g"] - self.alpha * round.deltas
        h = round.vectors["h"] = round.vectors["h"] - self.alpha * round.deltas.sum(0) / round.many
        return round.mean(round.deltas) - h / self.alpha
