"""Hypergradient descent: the learning rate follows its own gradient while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from steepest.core.chain import Chain, Mark, chain
from steepest.core.errors import HyperparameterError
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum, sqrt
from steepest.core.wrapper import Wrapper

Form = Literal["multiplicative", "additive"]
FORMS: tuple[Form, ...] = ("multiplicative", "additive")
TINY = 1e-300


@rule
class Hypergradient(Rule):
    r"""A factor on the steps of a rule that descends the loss of the next step.

    .. math::
        x_{t+1} = x_t - r_t u_t, \qquad
        h_t = \langle g_t, u_{t-1} \rangle = -\frac{\partial f(x_{t-1} - r u_{t-1})}{\partial r} \Big|_{r = r_{t-1}}

    where :math:`u_t` is the rule's direction and :math:`r_0 = 1`. The factor goes

    .. math::
        r_t = r_{t-1} + \beta\, h_t \quad \text{(additive)}, \qquad
        r_t = r_{t-1} \left(1 + \beta \frac{h_t}{\|g_t\| \|u_{t-1}\|}\right) \quad \text{(multiplicative)}

    Args:
        beta: How fast the factor moves. Additive: per unit of loss; with the learning rate :math:`\alpha` of the rule,
            :math:`\beta \alpha^2` is the paper's :math:`\beta`. Multiplicative: unitless. In [0, inf).
        form: ``"multiplicative"``, which does not depend on the scales of loss and weights; or ``"additive"``.

    Shapes: any. Memory: 4 bytes a parameter, and one number. Passes over memory: two.
    Units: ``metrics["lr_factor"]`` is :math:`r_t`.
    Differs from: the authors' code, whose Adam adds an L2 penalty to the :math:`g_t` of :math:`h_t`, and has a learning
    rate for every group; here :math:`g_t` is the gradient of the loss alone, and groups of one method share a factor.
    Source: Baydin et al. 2018, arXiv:1703.04782, Algorithms 4 to 6 (additive, for SGD, SGD with Nesterov momentum and
    Adam; the idea is Almeida et al. 1998). A multiplicative rule is ascribed to Martinez Rubio's thesis (Oxford
    2017), which was not read for this; this form is the additive one with :math:`\beta` in units of the factor and of
    the norms.

    Example:
        >>> r, u = Hypergradient(beta=0.1, form="additive"), torch.tensor([1.0, 2.0])
        >>> k, _ = r.combine(2, r.start(), [3.0])  # the last step agreed with this gradient: longer steps
        >>> r.update(u, r.init(u), u, k, u)[0]
        tensor([1.3000, 2.6000])
    """

    beta: Scalar = hyper(default=0.02, bounds="[0, inf)")
    form: Form = "multiplicative"

    reads_gradient: ClassVar[bool] = True

    class State(NamedTuple):
        u: Tensor

    class Memory(NamedTuple):
        r: Scalar

    class K(NamedTuple):
        r: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(u=torch.zeros_like(p))

    def start(self) -> Memory:
        return self.Memory(r=1.0)

    def measure(self, g: Any, s: State, p: Any, k: Any, raw: Any = None) -> tuple[Any, ...]:
        if self.form == "additive":
            return (raw * s.u,)
        return raw * s.u, raw * raw, s.u * s.u

    def combine(self, t: Scalar, memory: Memory, sums: Sequence[Scalar]) -> tuple[K, Memory]:
        if self.form == "additive":
            r = memory.r + self.beta * sums[0]
        else:
            h, g_square, u_square = sums
            r = memory.r * (1 + self.beta * h / maximum(sqrt(g_square) * sqrt(u_square), TINY))
        return self.K(r), self.Memory(r)

    def metrics(self, k: K, sums: Sequence[float]) -> dict[str, float]:
        return {"lr_factor": float(k.r)}

    def update(self, g: Any, s: State, p: Any, k: K, raw: Any = None) -> tuple[Any, State]:
        return k.r * g, self.State(u=g)


@dataclass(frozen=True)
class Followed(Wrapper):
    """The rule between a mark, which remembers the gradient, and the factor."""

    beta: Scalar
    form: Form
    distance: ClassVar[int] = 1
    alone: ClassVar[str] = "finds a factor on the learning rate"
    finds_length: ClassVar[bool] = True

    def wrap(self, links: Chain, group: Mapping[str, Any]) -> Chain:
        beta = self.beta
        if self.form == "additive":
            beta = beta / group.get("initial_lr", group.get("lr", 1.0)) ** 2
        return chain(Mark(), links, Hypergradient(beta, self.form))


@piece("wrapper")
def hypergradient(beta: float = 0.02, form: Form = "multiplicative") -> Wrapper:
    """Let the learning rate descend its own gradient: longer steps while gradients agree with the last step.

    Around ``sgd`` this is SGD-HD, around ``adam`` Adam-HD. Schedules keep their shape and multiply it.

    Args:
        beta: ``"multiplicative"``: the largest relative change of the learning rate in a step. ``"additive"``: the
            paper's, in units of learning rate squared per loss; what is right depends on the task (1e-3 to 1e-8 there).
        form: ``"multiplicative"`` or ``"additive"``.

    Use when: the learning rate is a guess, gradients have little noise, and one training is all that can be afforded.
    Not when: batches are small, or it can be tuned: looking one step ahead it prefers steps that are too short in the
    long run (arXiv:1803.02021), and from a rate that is too high there may be no way back.
    Source: arXiv:1703.04782.
    """
    if form not in FORMS:
        raise HyperparameterError(f"hypergradient: form is one of {', '.join(map(repr, FORMS))}; got {form!r}.")
    return Followed(beta, form)
