"""Scion: a step to the edge of a ball, and for each kind of layer the norm that makes the ball."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Nothing, Rule, Scalar, hyper, rule
from steepest.rules.factored import rms
from steepest.rules.learning_rate import LearningRate
from steepest.rules.orthogonalize import JORDAN, Orthogonalize
from steepest.rules.sgd import EmaMomentum
from steepest.rules.weight_decay import WeightDecay

POLAR = {name: Orthogonalize(iteration=name) for name in ("newton_schulz", "polar_express")}


@rule
class NormBall(Rule):
    r"""The point of a ball that is furthest along the gradient: :math:`u = \arg\max_{\lVert x \rVert \le \rho} \langle
    g, x \rangle`.

    .. math::
        u = \rho \sqrt{\tfrac{r}{c}}\, U V^\top \text{ (spectral)}, \qquad
        u = \tfrac{\rho}{c} \operatorname{sign} g \text{ (sign)}, \qquad
        u_i = \rho\, \tfrac{g_i}{\operatorname{RMS}(g_i)} \text{ (embedding)}

    for r rows :math:`g_i` and c columns, with :math:`g = U \Sigma V^\top`. In the spectral ball, a layer turns inputs
    of root mean square 1 into outputs of at most :math:`\rho`; in the sign ball each output is at most :math:`\rho` for
    inputs within 1; in the embedding ball each row has root mean square :math:`\rho`. Vectors and numbers are taken to
    root mean square :math:`\rho` as a whole.

    Args:
        radius: :math:`\rho`, in units of the parameter (see above), in [0, inf).
        ns_steps: Iterations that make the matrix orthogonal, in [1, 100).
        eps: Keeps the divisions finite, so that zero stays zero. In units of the gradient, in [0, inf).
        norm: Which ball a tensor with two dimensions or more gets.
        iteration: As in :class:`Orthogonalize`, which does that part.

    Shapes: any; kernels are (out, everything else), and where the ball is spectral, c is the number of channels in and
    the step is divided by the number of positions in a filter. Memory: none.
    Units: ``u`` is in units of the parameter; the scale of the gradient does not matter.
    Differs from: the paper, whose argument is the minimum (:math:`-u`). The authors' code refuses kernels for
    ``"sign"``, which it divides by the columns.
    Source: Pethick et al. 2025, arXiv:2502.07529, Tables 2 to 4; the step of filters is that of the authors' code.

    Example:
        >>> rule, g = NormBall(radius=2.0, norm="sign"), torch.tensor([[3.0, -0.1], [0.0, 5.0]])
        >>> rule.update(g, rule.init(g), g, rule.scalars(1))[0]
        tensor([[ 1., -1.],
                [ 0.,  1.]])
    """

    radius: Scalar = hyper(default=1.0, bounds="[0, inf)")
    ns_steps: Scalar = hyper(default=5, bounds="[1, 100)", shared=True, whole=True)
    eps: Scalar = hyper(default=1e-8, bounds="[0, inf)")
    norm: Literal["spectral", "sign", "embedding"] = "spectral"
    iteration: Literal["newton_schulz", "polar_express"] = "newton_schulz"

    scope: ClassVar[Literal["element", "tensor"]] = "tensor"

    class K(NamedTuple):
        radius: Scalar
        ns_steps: Scalar
        eps: Scalar

    def scalars(self, t: Scalar) -> K:
        return self.K(self.radius, self.ns_steps, self.eps)

    def update(self, g: Any, s: Nothing, p: Any, k: K) -> tuple[Any, Nothing]:
        return k.radius * self.furthest(g, k, g.ndim), s

    def stacked(self, g: Tensor, s: Nothing, p: Tensor, k: K) -> tuple[Any, Nothing]:
        return k.radius * self.furthest(g, k, g.ndim - 1), s

    def furthest(self, g: Tensor, k: K, ndim: int) -> Tensor:
        """The point of the ball of radius one, for tensors that are the last ``ndim`` dimensions."""
        if ndim < 2:
            return g / (rms(g, ndim) + k.eps)
        rows, channels, *filters = g.shape[g.ndim - ndim :]
        if self.norm == "sign":
            return torch.sign(g) / max(1, channels * math.prod(filters))
        x = g.flatten(g.ndim - ndim + 1)
        if self.norm == "embedding":
            return (x / (rms(x, 1) + k.eps)).reshape(g.shape)
        scale = math.sqrt(rows / max(1, channels)) / max(1, math.prod(filters))
        polar = POLAR[self.iteration].polar(x, Orthogonalize.K(*JORDAN, k.ns_steps, k.eps))
        return (scale * polar).reshape(g.shape)


@piece("rule")
def scion(
    lr: float = 2**-12,
    momentum: float = 0.9,
    radius: float = 50.0,
    weight_decay: float = 1.0,
    norm: Literal["spectral", "sign", "embedding"] = "spectral",
    ns_steps: int = 5,
    iteration: Literal["newton_schulz", "polar_express"] = "newton_schulz",
) -> Chain:
    """Momentum, and a step of length ``lr`` towards where it points furthest in a ball of the layer's own norm.

    With ``weight_decay=1`` a step goes from the weights to that point, ``lr`` of the way, so that they never leave the
    ball; with 0 it is the paper's unconstrained form. Hidden layers take the spectral ball; the output layer, and an
    embedding tied to it, that of signs with a radius of its own; a free embedding its own too. The authors, for
    language models: ``partition(head=scion(radius=3000, norm="sign"), embedding=scion(radius=3000, norm="sign"),
    rest=scion())``, and for a network of linear layers lr=2**-6 and radii of 1 and 1024. Their ``momentum`` is 1 minus
    this one.

    Family: matrix
    Usual lr: 2e-4 to 6e-2
    Use when: muon fits the model and no second rule is wanted beside it, or settings found on a narrow model are to
    serve a wide one (arXiv:2502.07529). Half of adamw's state.
    Not when: nobody will tune the radii: the defaults are those of one language model.
    Source: arXiv:2502.07529, Algorithms 1 to 3.
    """
    ball = NormBall(radius, ns_steps, norm=norm, iteration=iteration)
    return chain(EmaMomentum(momentum), ball, WeightDecay(weight_decay), LearningRate(lr))
