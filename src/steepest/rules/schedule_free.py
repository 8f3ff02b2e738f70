"""Schedule-Free: averaging takes the place of the learning-rate schedule."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from steepest.core.chain import Chain, chain
from steepest.core.piece import piece
from steepest.core.rule import Rule, Scalar, hyper, rule
from steepest.core.scalar import maximum, minimum, where
from steepest.rules.betas import pair
from steepest.rules.learning_rate import LearningRate
from steepest.rules.rmsprop import RMSprop
from steepest.rules.weight_decay import WeightDecay


@rule
class _Averaging(Rule):
    """What the forms of Schedule-Free share: all but how they begin."""

    lr: Scalar = hyper(default=1e-3, bounds="[0, inf)")
    beta: Scalar = hyper(default=0.9, bounds="(0, 1)")
    r: Scalar = hyper(default=0.0, bounds="[0, inf)")
    lr_power: Scalar = hyper(default=2.0, bounds="[0, inf)")

    class State(NamedTuple):
        z: Tensor

    class Memory(NamedTuple):
        weight_sum: Scalar
        lr_max: Scalar

    class K(NamedTuple):
        s: Scalar
        c: Scalar
        rest: Scalar

    def init(self, p: Tensor) -> State:
        return self.State(p.clone())

    def start(self) -> Memory:
        return self.Memory(0.0, 0.0)

    def warmup(self, t: Scalar) -> Scalar:
        """The factor of step ``t``."""
        raise NotImplementedError(f"{type(self).__name__} must say how its first steps are shortened: warmup(t)")

    def combine(self, t: Scalar, memory: Memory, sums: Any) -> tuple[K, Memory]:
        s = self.warmup(t)
        lr_max = maximum(s * self.lr, memory.lr_max)
        weight = t**self.r * lr_max**self.lr_power
        total = memory.weight_sum + weight
        c = where(total > 0, weight / where(total > 0, total, 1.0), 0.0)
        return self.K(s, c, s * (1 - self.beta + self.beta * c)), self.Memory(total, lr_max)

    def update(self, g: Any, s: State, p: Any, k: K) -> tuple[Any, State]:
        return k.c * (p - s.z) + k.rest * g, self.State(s.z - k.s * g)

    def evaluated(self, p: Tensor, s: State, t: int) -> Tensor:
        return (p - (1 - self.beta) * s.z) / self.beta


@rule
class ScheduleFree(_Averaging):
    r"""Take gradients between the point that steps and the average of where it has been; evaluate at the average.

    With the update :math:`g_t` (learning rate included) computed at :math:`y_t`, the parameters while training:

    .. math::
        z_{t+1} = z_t - s_t g_t, \qquad
        x_{t+1} = (1 - c_t) x_t + c_t z_{t+1}, \qquad
        y_{t+1} = (1 - \beta) z_{t+1} + \beta x_{t+1}

    .. math::
        c_t = \frac{w_t}{\sum_{i \le t} w_i}, \qquad
        w_t = t^r \left(\max_{i \le t} s_i \eta_i\right)^\rho, \qquad s_t = \min(1, t / W)

    Only :math:`y` and :math:`z` are kept, :math:`x = (y - (1 - \beta) z) / \beta`. It stands behind the learning rate
    in any chain.

    Args:
        lr: The learning rate :math:`\eta_t` of the chain, for the weights :math:`w_t`. In [0, inf).
        beta: Where gradients are taken: at 1 at the average, near 0 at the point that steps. Unitless, in (0, 1).
        r: Later steps weigh more in the average, as :math:`t^r`. Unitless, in [0, inf).
        lr_power: The exponent :math:`\rho`: steps of a warm-up weigh less. Unitless, in [0, inf).
        warmup_steps: Steps :math:`W` over which :math:`s_t` rises to 1; 0: none. In [0, inf).

    Shapes: any. Memory: 4 bytes a parameter.
    Differs from: the paper's text, where :math:`c_t = 1/t`; as the authors' code, we weigh by :math:`w_t`, which is the
    same for ``r=0`` and a constant learning rate.
    Source: Defazio et al. 2024, arXiv:2405.15682, equations (3)-(5) and Algorithm 1.

    Example:
        >>> r, y = ScheduleFree(lr=1.0), Tensor([2.0])
        >>> k, memory = r.combine(1, r.start(), ())
        >>> u, s = r.update(Tensor([1.0]), r.init(y), y, k)
        >>> (y - u).tolist(), s.z.tolist(), [round(v, 4) for v in r.evaluated(y - u, s, 1).tolist()]
        ([1.0], [1.0], [1.0])
    """

    warmup_steps: Scalar = hyper(default=0.0, bounds="[0, inf)")

    def warmup(self, t: Scalar) -> Scalar:
        return minimum(1.0, t / maximum(self.warmup_steps, 1.0))


@rule
class ScheduleFreeRAdam(_Averaging):
    r"""Schedule-Free with RAdam's rectification in place of a warm-up of chosen length.

    .. math::
        s_t = r_t \text{ where } \rho_t > 4, \text{ else } 0 \qquad (r_t, \rho_t \text{ as in RAdam, from } \beta_2)

    Args:
        lr: As in :class:`ScheduleFree`.
        beta: As in :class:`ScheduleFree`.
        r: As in :class:`ScheduleFree`.
        lr_power: As in :class:`ScheduleFree`.
        beta2: Weight of the past in the squared gradient of the rule in front. Unitless, in [0, 1).

    Shapes: any. Memory: 4 bytes a parameter.
    Differs from: RAdam, which steps along the momentum while :math:`\rho_t` is small; this waits, as the authors' code
    does with ``silent_sgd_phase=True`` (its default).
    Source: the authors' ``RAdamScheduleFree``; Liu et al. 2019, arXiv:1908.03265, Algorithm 2 for the rectification.

    Example:
        >>> r = ScheduleFreeRAdam(beta2=0.999)
        >>> [round(r.warmup(t), 3) for t in (4, 5, 100, 100_000)]
        [0.0, 0.017, 0.215, 1.0]
    """

    beta2: Scalar = hyper(default=0.999, bounds="[0, 1)")

    def warmup(self, t: Scalar) -> Scalar:
        far = 2 / (1 - self.beta2) - 1
        rho = far - 2 * t * self.beta2**t / (1 - self.beta2**t)
        ready = (rho > 4) & (far > 4)
        safe = where(ready, rho, 5.0)
        square = (safe - 4) * (safe - 2) * far / (where(ready, far - 4, 1.0) * (far - 2) * safe)
        return where(ready, where(ready, square, 0.0) ** 0.5, 0.0)


@piece("rule")
def schedule_free_sgd(
    lr: float = 1.0,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    warmup_steps: float = 0.0,
    r: float = 0.0,
    lr_power: float = 2.0,
) -> Chain:
    """Schedule-Free SGD: no schedule, no stopping time; evaluate inside ``optimizer.evaluating()``.

    Family: averaging
    Usual lr: 0.1 to 10
    Use when: nobody knows how long training will go on; learning rates 10 to 50 times those of SGD with momentum.
    Not when: the length is known and a cosine or linear fall has been tuned: there it is about as good, not better.
    Source: arXiv:2405.15682, Algorithm 1.
    """
    return chain(WeightDecay(weight_decay), LearningRate(lr), ScheduleFree(lr, momentum, r, lr_power, warmup_steps))


@piece("rule")
def schedule_free_adamw(
    lr: float = 2.5e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    warmup_steps: float = 0.0,
    r: float = 0.0,
    lr_power: float = 2.0,
) -> Chain:
    """Schedule-Free AdamW: no schedule, no stopping time; evaluate inside ``optimizer.evaluating()``.

    Family: averaging
    Usual lr: 1e-3 to 1e-2
    Use when: nobody knows how long training will go on; it won AlgoPerf's self-tuning track. Give it a warm-up.
    Not when: batches are very large (betas=(0.98, 0.999) helps; see schedule_free_plus), a schedule can be tuned (the
    authors of another schedule-free rule find it behind a well-tuned adamw, arXiv:2605.23061), or nothing may differ
    between the model that trains and the one that is evaluated.
    Source: arXiv:2405.15682, Algorithm 1 in appendix A.
    """
    beta, beta2 = pair(betas)
    return chain(
        RMSprop(beta2, eps, debias=True),
        WeightDecay(weight_decay),
        LearningRate(lr),
        ScheduleFree(lr, beta, r, lr_power, warmup_steps),
    )


@piece("rule")
def schedule_free_radam(
    lr: float = 2.5e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    r: float = 0.0,
    lr_power: float = 2.0,
) -> Chain:
    """Schedule-Free AdamW that warms up by itself; evaluate inside ``optimizer.evaluating()``.

    Family: averaging
    Usual lr: 1e-3 to 1e-2
    Use when: schedule_free_adamw is wanted and no length of warm-up.
    Not when: the first steps must count: with beta2=0.999 it waits for four steps and takes thousands to full speed.
    Source: the authors' code (``RAdamScheduleFree``); arXiv:2405.15682, arXiv:1908.03265.
    """
    beta, beta2 = pair(betas)
    return chain(
        RMSprop(beta2, eps, debias=True),
        WeightDecay(weight_decay),
        LearningRate(lr),
        ScheduleFreeRAdam(lr, beta, r, lr_power, beta2),
    )
