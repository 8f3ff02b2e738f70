"""NeuronGraph: a small learned network on the graph of neurons gives Adam's step another direction."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.rules.learning_rate import LearningRate
from steepest.rules.neurons import Inputs, Theta, adam, direction, kept, learned
from steepest.rules.weight_decay import WeightDecay

MOMENTA = (0.9, 0.99, 0.999)
"""Weights of the past in the three momenta."""
FAST = 0.95
"""Weight of the past in what rows and columns remember."""


@rule
class NeuronGraph(Rule):
    r"""Adam's step, turned: its length is kept for each tensor, its direction comes from a learned network.

    .. math::
        m^b_t &= b\, m^b_{t-1} + (1 - b) g_t \ (b = 0.9, 0.99, 0.999), \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
        r_t, c_t = 0.95\, r_{t-1} + 0.05 \operatorname{mean}_j g_t^2, \ \operatorname{mean}_i \text{ likewise}

        h_i &= \phi_r(\operatorname{mean}_j q_{ij}), \qquad h_j = \phi_c(\operatorname{mean}_i q_{ij}), \qquad
        d_{ij} = e^{h_i^0 + h_j^0} w^\top x_{ij}
        + \sum_l a_l \tanh(W x_{ij})_l (1 + h_i^l + h_j^l)

        u_t &= \frac{\operatorname{RMS}(a_t)}{\operatorname{RMS}(d_t)} d_t, \qquad
        a_t = \frac{\hat m^{0.9}_t}{\sqrt{\hat v_t + \epsilon^2 \operatorname{mean} \hat v_t}}

    An edge :math:`ij` is a weight: it has seven numbers :math:`x_{ij}` (momenta, gradient and weight, each without its
    scale) and products :math:`q_{ij}` of them. Nodes are neurons: rows :math:`i` and columns :math:`j` gather the means
    of their edges, and send them a factor and four messages :math:`h`. :math:`\phi_r, \phi_c` are perceptrons; with
    :math:`w, W, a` 199 learned numbers. Vectors and numbers get :math:`a_t`. A weight that never had a gradient stays
    where it is.

    Args:
        beta2: Weight of the past in the squared gradient. Unitless, in [0, 1).
        eps: Size below which an entry steps less, in units of the tensor's root mean square gradient, in [0, inf).
        nodes: False leaves the neurons out: :math:`h = 0`, and 39 numbers that were learned without them.
        weights: The ``"trained"`` network, one that is ``"untrained"`` (then :math:`u_t = a_t`, which is Adam), or a
            file that ``python -m steepest.graph.meta --write`` made.

    Shapes: any; of more than two dimensions the first is the rows, the second the columns, and the others are several
    edges between the same two neurons. Memory: 16 + 4(m + n)/(mn) bytes a parameter for an m x n matrix, 8 for vectors.
    Units: ``u`` has the size of Adam's: the learning rate is AdamW's.
    Differs from: Celo2, which has one perceptron for every weight, whose inputs hold row and column moments, and gives
    ``u`` the size 1. The network sees one tensor at a time: neurons of one layer hear nothing of the next.
    Source: ours, after Moudgil, Knyazev and Belilovsky 2026, arXiv:2602.19142 (a learned direction, the length left to
    the user) and Kofinas et al. 2024, arXiv:2403.12143 (networks as graphs of neurons); weights by
    ``python -m steepest.graph.meta``.

    Example:
        >>> rule, p = NeuronGraph(weights="untrained"), torch.zeros(1, 2)
        >>> rule.update(torch.tensor([[3.0, -0.5]]), rule.init(p), p, rule.scalars(1))[0].round(decimals=3)
        tensor([[ 1., -1.]])
    """

    beta2: Scalar = hyper(default=0.999, bounds="[0, 1)")
    eps: Scalar = hyper(default=1e-6, bounds="[0, inf)")
    nodes: bool = True
    weights: str = "trained"

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"

    class State(NamedTuple):
        m: Tensor
        medium: Tensor
        slow: Tensor
        v: Tensor
        r: Tensor
        c: Tensor

    class K(NamedTuple):
        v_rest: Scalar
        m_scale: Scalar
        medium_scale: Scalar
        slow_scale: Scalar
        v_scale: Scalar
        fast_scale: Scalar
        eps: Scalar

    def init(self, p: Tensor) -> State:
        m, v, none = torch.zeros_like(p), torch.zeros_like(p), p.new_zeros(0)
        if p.ndim < 2:
            return self.State(m, none, none, v, none, none)
        ones = [1] * (p.ndim - 2)
        r, c = p.new_zeros(p.shape[0], 1, *ones), p.new_zeros(1, p.shape[1], *ones)
        return self.State(m, torch.zeros_like(p), torch.zeros_like(p), v, r, c)

    def scalars(self, t: Scalar) -> K:
        first, medium, slow = (1 / (1 - beta**t) for beta in MOMENTA)
        v_scale, fast_scale = 1 / (1 - self.beta2**t), 1 / (1 - FAST**t)
        return self.K(1 - self.beta2, first, medium, slow, v_scale, fast_scale, self.eps)

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        return turned(learned(self.weights, self.nodes, g.dtype, g.device), g, s, p, k, g.ndim)

    def stacked(self, g: Tensor, s: State, p: Tensor, k: K) -> tuple[Tensor, State]:
        return turned(learned(self.weights, self.nodes, g.dtype, g.device), g, s, p, k, g.ndim - 1)


def turned(
    theta: Theta, g: Tensor, s: NeuronGraph.State, p: Tensor, k: NeuronGraph.K, ndim: int
) -> tuple[Tensor, NeuronGraph.State]:
    """The step on the last ``ndim`` dimensions with the network's weights ``theta``."""
    if not g.numel():
        return g, s
    m, square = torch.lerp(s.m, g, 1 - MOMENTA[0]), g * g
    v = torch.lerp(s.v, square, k.v_rest)
    if ndim < 2:
        dims = tuple(range(-ndim, 0)) or (-1,)
        first, size = m * k.m_scale, v * k.v_scale
        whole = size.mean(dims, True) if ndim else size
        return adam(first, size, k.eps * k.eps * whole), s._replace(m=m, v=v)
    medium, slow = torch.lerp(s.medium, g, 1 - MOMENTA[1]), torch.lerp(s.slow, g, 1 - MOMENTA[2])
    taps = tuple(range(2 - ndim, 0))
    r = torch.lerp(s.r, square.mean((1 - ndim, *taps), True), 1 - FAST)
    c = torch.lerp(s.c, square.mean((-ndim, *taps), True), 1 - FAST)

    def as_edges(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[: x.ndim - ndim + 2], -1)

    averages = as_edges(m) * k.m_scale, as_edges(medium) * k.medium_scale, as_edges(slow) * k.slow_scale
    factors = as_edges(r) * k.fast_scale, as_edges(c) * k.fast_scale
    x = Inputs(as_edges(g), averages, as_edges(v) * k.v_scale, *factors, as_edges(p))
    return direction(theta, x, k.eps).reshape(g.shape), NeuronGraph.State(m, medium, slow, v, r, c)


@piece("rule")
def neuron_graph(
    lr: float = 1e-3,
    beta2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 1e-2,
    *,
    nodes: bool = True,
    weights: str = "trained",
) -> Chain:
    """AdamW whose direction comes from a small learned network on the graph of neurons; decoupled weight decay.

    ``nodes=False`` is the same without the neurons, ``weights="untrained"`` is AdamW, ``weights="FILE"`` a network of
    your own.

    Family: adaptive
    Usual lr: 1e-4 to 1e-2
    Use when: studying learned directions, or training one of your own (``python -m steepest.graph.meta``).
    Not when: anything depends on it: tuned alike it is no better than adamw on what was measured, and nobody but the
    authors has measured; a step costs fifty times adamw's.
    Source: ours, after Celo2, arXiv:2602.19142.
    """
    if weights != "untrained":
        kept(weights, nodes)  # which refuses what is no network
    return chain(NeuronGraph(beta2, eps, nodes, weights), WeightDecay(weight_decay), LearningRate(lr))
