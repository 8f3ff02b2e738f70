"""What a multi-task method is: several losses, or their gradients, made into one direction."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, dataclass_transform

import torch
from torch import Tensor

from steepest.core.errors import SteepestError
from steepest.core.rule import Nothing, check, hyper

T = TypeVar("T")
Level = Literal["gramian", "jacobian", "features"]
"""How gradients are compared: ``"gramian"``, all of their products, the rows never in memory together; ``"jacobian"``,
the rows themselves; ``"features"``, the gradients of what the tasks share last, for hardly more than a plain step."""
LEVELS: tuple[Level, ...] = ("gramian", "jacobian", "features")
Groups: TypeAlias = tuple[tuple[int, ...], ...]
"""Tasks by number, those together that go backward as one."""


class MultiTaskError(SteepestError, ValueError):
    """Losses or gradients that cannot be combined as asked."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a method sees of one step, for ``m`` tasks."""

    losses: Tensor | None = None
    """``[..., m]``, float64."""
    gramian: Tensor | None = None
    """``[..., m, m]``, float64: the inner products of the tasks' gradients."""
    rows: Tensor | None = None
    """``[m, P]``: the gradients themselves, in the type they came in."""
    precision: float = torch.finfo(torch.float64).eps
    """Relative size of the rounding errors in the gradients."""
    t: int = 1
    """The step, from 1."""
    draw: torch.Generator | None = None
    """Random numbers, a function of the step: on the CPU whatever the device."""
    groups: Groups | None = None
    """Where tasks came together (:meth:`Method.together`): whose mean each row, and each row of the Gramian, is."""

    @property
    def m(self) -> int:
        """How many tasks there are."""
        given = next(x for x in (self.losses, self.gramian, self.rows) if x is not None)
        return given.shape[0] if given is self.rows else given.shape[-1]

    @property
    def G(self) -> Tensor:
        """The Gramian, which is there for methods that need it."""
        if self.gramian is None:
            raise MultiTaskError("this method compares gradients, and was given none. Hand over their Gramian.")
        return self.gramian

    @property
    def L(self) -> Tensor:
        """The losses, which are there for methods that need them."""
        if self.losses is None:
            raise MultiTaskError("this method looks at the losses, and was given none. Hand them over with the rows.")
        return self.losses

    @property
    def J(self) -> Tensor:
        """The gradients as rows, which are there for methods that need them."""
        if self.rows is None:
            raise MultiTaskError("this method takes the gradients apart, and was given none. Use level='jacobian'.")
        return self.rows


class Method:
    """One way to make one direction of several losses, as pure functions of what is seen and of a state.

    A subclass is a frozen dataclass (see :func:`method`) and defines :meth:`weigh`, or :meth:`combine` where the
    direction is no weighted sum of the gradients. What it says of itself in the class is tested, not believed.
    """

    needs: ClassVar[Literal["losses", "gramian", "jacobian"]] = "gramian"
    """What :meth:`weigh` looks at. With losses alone a step costs what a plain one does."""
    reads_losses: ClassVar[bool] = False
    """Whether it looks at the losses besides the gradients."""
    preconditioned: ClassVar[bool] = False
    """Whether gradients are to be compared as the optimizer will scale their entries."""
    looks_back: ClassVar[bool] = False
    """Whether it wants to hear the losses of the same batch after the step (:meth:`hear`): one more forward pass."""
    fewest: ClassVar[int] = 1
    """How many tasks it needs."""

    non_conflicting: ClassVar[bool] = False
    """No task's gradient points against the direction: to first order no loss grows."""
    permutation_invariant: ClassVar[bool] = False
    """The order of the tasks does not matter."""
    linear_under_scaling: ClassVar[bool] = False
    """The direction is linear in positive factors on the losses."""
    strongly_stationary: ClassVar[bool] = False
    """The direction is zero only where some sum of the gradients with positive weights is."""
    scale_invariant: ClassVar[bool] = False
    """Positive factors on the losses change nothing of where the direction points."""

    PROPERTIES: ClassVar[tuple[str, ...]] = (
        "non_conflicting",
        "permutation_invariant",
        "linear_under_scaling",
        "strongly_stationary",
        "scale_invariant",
    )
    """The declarations above, by name."""

    State: ClassVar[Any] = Nothing

    @classmethod
    def cost(cls) -> str:
        """What a step takes beyond a plain one, in words."""
        if cls.needs == "losses":
            return "one forward pass more" if cls.looks_back else "nothing"
        kept = ", a gradient of each in memory" if cls.needs == "jacobian" else ""
        return f"a backward pass for each task{kept}"

    @classmethod
    def declared(cls) -> tuple[str, ...]:
        """The properties that it has, in words."""
        return tuple(name.replace("_", " ") for name in cls.PROPERTIES if getattr(cls, name))

    def start(self, m: int) -> Any:
        """The state before the first step, for m tasks: tensors, or numbers."""
        return self.State()

    def together(self, m: int, s: Any, t: int) -> Groups | None:
        """Which tasks go backward as one at step t, their mean; None: each by itself.

        What is then seen has a row for each group, and so have the weights. A task in no group is left out.
        """
        return None

    def weigh(self, seen: Seen, s: Any) -> tuple[Tensor, Any]:
        """The weights ``[..., m]`` of the tasks in the direction, and the new state."""
        raise NotImplementedError(f"{type(self).__name__} defines neither weigh nor combine")

    def combine(self, seen: Seen, s: Any) -> tuple[Tensor, Any]:
        """The direction ``[P]`` out of the rows, and the new state."""
        w, s = self.weigh(seen, s)
        return w.to(seen.J) @ seen.J, s

    def hear(self, before: Tensor, after: Tensor, s: Any) -> Any:
        """The new state, once the losses of the batch are known before and after the step."""
        return s

    def __call__(self, rows: Tensor, losses: Tensor | None = None) -> Tensor:
        """The direction for gradients given as the rows of a matrix, from a fresh state (see :class:`Aggregator`)."""
        return Aggregator(self)(rows, losses)


class Aggregator:
    """A method with its state, for matrices whose rows are gradients.

    >>> from steepest.multitask import MGDA
    >>> Aggregator(MGDA())(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor([0.5000, 0.5000])
    """

    def __init__(self, of: Method, seed: int = 0) -> None:
        self.method, self.seed, self.t = of, seed, 0
        self.state: Any = None

    def __call__(self, rows: Tensor, losses: Tensor | None = None) -> Tensor:
        """The direction ``[P]`` of this step."""
        if rows.ndim != 2 or not rows.is_floating_point():
            raise MultiTaskError(
                f"gradients are the rows of a matrix of real numbers, got shape {tuple(rows.shape)}, {rows.dtype}."
            )
        enough(self.method, rows.shape[0])
        if self.method.needs == "losses" and losses is None:
            raise MultiTaskError(f"{type(self.method).__name__} weighs by the losses. Hand them over with the rows.")
        self.state = self.method.start(rows.shape[0]) if self.state is None else self.state
        self.t += 1
        losses = None if losses is None else losses.detach().double()
        groups = self.method.together(rows.shape[0], self.state, self.t)
        if groups is not None:
            rows = torch.stack([rows[list(group)].mean(0) for group in groups])
        needed = rows if self.method.needs == "jacobian" else None
        products = None if self.method.needs == "losses" else gramian(rows)
        draw, eps = drawing(self.seed, self.t), float(torch.finfo(rows.dtype).eps)
        seen = Seen(losses, products, needed, eps, self.t, draw, groups)
        if needed is not None:
            d, self.state = self.method.combine(seen, self.state)
            return d.to(rows)
        w, self.state = self.method.weigh(seen, self.state)
        return weighted(w, rows)


def weighted(w: Tensor, rows: Tensor) -> Tensor:
    """The sum of rows with weights; half precision is summed in float32, and weights too large for it in float64.

    >>> weighted(torch.tensor([1e-10, 1e-10]).double(), torch.tensor([[6e4, 0.0], [0.0, 6e4]]).half()).dtype
    torch.float16
    """
    wide = torch.float64 if rows.dtype == torch.float64 or bool((w.abs() > 1e30).any()) else torch.float32
    return (w.to(device=rows.device, dtype=wide) @ rows.to(wide)).to(rows.dtype)


def gramian(rows: Tensor) -> Tensor:
    """The products of rows in float64, of which none overflows or vanishes; multiplied in the rows' own precision.

    >>> [f"{x:.6g}" for x in gramian(torch.tensor([[1e30, 0.0], [1e-30, 1e-30]])).diagonal().tolist()]
    ['1e+60', '2e-60']
    """
    if rows.dtype == torch.float64:
        return rows @ rows.mT
    wide = rows.float()
    size = wide.abs().amax(1).double() if wide.shape[1] else wide.new_zeros(len(wide), dtype=torch.float64)
    lost = bool(((size > 1e15) | ((size < 1e-15) & (size > 0))).any())
    if lost:
        wide = rows.double()
    return (wide @ wide.mT).double()


def enough(of: Method, m: int) -> None:
    """An error where a method has too few tasks."""
    if m < of.fewest:
        raise MultiTaskError(f"{type(of).__name__} needs at least {of.fewest} tasks; there are {m}.")


def drawing(seed: int, t: int) -> torch.Generator:
    """The random numbers of a step: a function of the seed and the step, so that a resumed run draws the same."""
    return torch.Generator().manual_seed((seed * 1_000_003 + t) % 2**63)


@dataclass_transform(frozen_default=True, kw_only_default=False, field_specifiers=(hyper, dataclasses.field))
def method(cls: type[T]) -> type[T]:
    """Freeze a :class:`Method` into a value whose hyperparameters are checked when it is made."""
    cls.__post_init__ = _checked  # type: ignore[attr-defined]
    return dataclasses.dataclass(frozen=True)(cls)


def _checked(self: Any) -> None:
    check(self)
    for field in dataclasses.fields(self):
        value = getattr(self, field.name)
        if field.name == "level" and value not in LEVELS:
            raise MultiTaskError(f"{type(self).__name__}: level is one of {', '.join(LEVELS)}; got {value!r}.")
        if field.name in ("preference", "weights") and value is not None:
            _positive(type(self).__name__, field.name, value)


def _positive(owner: str, name: str, values: Any) -> None:
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if not values or not numbers or min(values) < 0 or not max(values) > 0:
        raise MultiTaskError(f"{owner}: {name} has a number >= 0 for each task, one above 0; got {values!r}.")


def preferred(preference: tuple[float, ...] | None, like: Tensor) -> Tensor:
    """What is given for each task, or ``1/m``, as a vector beside a Gramian or a vector of losses."""
    m = like.shape[-1]
    if preference is None:
        return torch.full((m,), 1 / m, dtype=torch.float64, device=like.device)
    if len(preference) != m:
        raise MultiTaskError(f"there are {m} tasks, and a preference for {len(preference)}: {preference}.")
    return torch.tensor(preference, dtype=torch.float64, device=like.device)


def finite(G: Tensor) -> tuple[Tensor, Tensor]:
    """The Gramian with the identity where one is not finite, and which are: their weights become NaN.

    A NaN is handed on to the optimizer's guard, and never answered by weights made up for it.
    """
    good = G.isfinite().all(-1).all(-1)
    return torch.where(good[..., None, None], G, torch.eye(G.shape[-1], dtype=G.dtype, device=G.device)), good


def or_nan(w: Tensor, good: Tensor) -> Tensor:
    """Weights, NaN where the gradients were not finite."""
    return torch.where(good[..., None], w, torch.nan)


def keep(good: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """A state's new value, the old one where what was seen is not finite."""
    good = good.reshape(good.shape + (1,) * (new.ndim - good.ndim))
    return torch.where(good, new, old)
