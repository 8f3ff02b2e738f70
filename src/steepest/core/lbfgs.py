"""L-BFGS: torch's own, made safe and fit for strategies."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class LBFGS(torch.optim.LBFGS):
    """``torch.optim.LBFGS`` with schedules, a guard and the counts that a training loop wants to know.

    One call of ``step`` runs up to ``max_iter`` iterations and calls the closure up to ``max_eval`` times, all on one
    batch. ``evaluations`` counts the calls. A step that leaves a parameter not finite (a line search gone astray) is
    taken back, the history forgotten, and counted in ``skipped_steps``.

    Args:
        params: Parameters, in one group.
        scheduler: Moves ``lr`` with the step count, as for every strategy; None: it stays.
        options: ``torch.optim.LBFGS``'s own: ``lr``, ``max_iter``, ``max_eval``, ``tolerance_grad``,
            ``tolerance_change``, ``history_size``, ``line_search_fn``.

    Example:
        >>> p = torch.nn.Parameter(torch.tensor([3.0, -1.0]))
        >>> opt = LBFGS([p], lr=1.0, line_search_fn="strong_wolfe")
        >>> def closure():
        ...     opt.zero_grad()
        ...     loss = (p - 1).square().sum()
        ...     opt.backward(loss)
        ...     return loss
        >>> _ = opt.step(closure)
        >>> torch.allclose(p, torch.ones(2))
        True
    """

    averages = False

    def __init__(self, params: Any, *, scheduler: Any = None, **options: Any) -> None:
        params = list(params)
        super().__init__([p[1] if isinstance(p, tuple) else p for p in params], **options)
        self.scheduler = scheduler
        self.base_lr = self.param_groups[0]["lr"]
        self.steps = self.skipped_steps = self.evaluations = 0
        self.metrics: dict[str, float] = {}
        self._move()

    def _move(self) -> None:
        if self.scheduler is not None:
            factors = self.scheduler.factors(self.steps)
            self.param_groups[0]["lr"] = self.base_lr * factors.get("lr", 1.0) * factors.get("lbfgs.lr", 1.0)

    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None) -> Any:
        """Run iterations until one of the limits; returns the loss before the first."""
        if closure is None:
            raise TypeError(
                "L-BFGS evaluates the loss several times a step: call step(closure), where the closure clears the "
                "gradients, computes the loss, calls backward() and returns the loss."
            )

        def counted() -> Any:
            found = closure()
            self.evaluations += 1
            return found

        params = self.param_groups[0]["params"]
        before = [p.detach().clone() for p in params]
        self._move()
        loss = super().step(counted)  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
        self.metrics = {"grad_norm": float(norm)}
        if all(bool(p.isfinite().all()) for p in params):
            self.steps += 1
        else:
            self._take_back(before)
        return loss

    @torch.no_grad()
    def _take_back(self, before: list[Tensor]) -> None:
        for p, old in zip(self.param_groups[0]["params"], before, strict=True):
            p.copy_(old)
        self.state.clear()
        if not self.skipped_steps:
            warnings.warn(
                f"step {self.steps + 1} was taken back: it left parameters that are not finite. The history is gone; "
                "further ones are counted in skipped_steps. Use line_search='strong_wolfe', or a lower learning rate.",
                RuntimeWarning,
                stacklevel=4,
            )
        self.skipped_steps += 1
        self.metrics = {**self.metrics, "skipped": 1.0}

    def backward(self, loss: Tensor, **_: Any) -> None:
        """``loss.backward()``."""
        torch.autograd.backward(loss)

    def observe(self, value: float) -> None:
        """Tell the schedules the newest validation value."""
        if self.scheduler is not None:
            self.scheduler.observe(value)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The weights to evaluate are those that are trained."""
        yield

    def state_dict(self) -> dict[str, Any]:
        """As torch's, with the counts and the schedules' state."""
        own = copy.copy(super().state_dict())
        own["steepest"] = {
            "steps": self.steps,
            "skipped_steps": self.skipped_steps,
            "evaluations": self.evaluations,
            "base_lr": self.base_lr,
            "schedule": self.scheduler.state_dict() if self.scheduler is not None else {},
        }
        return own

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`, or one of torch.optim.LBFGS."""
        given = dict(state_dict)
        extra = given.pop("steepest", {})
        super().load_state_dict(given)
        self.steps = int(extra.get("steps", 0))
        self.skipped_steps = int(extra.get("skipped_steps", 0))
        self.evaluations = int(extra.get("evaluations", 0))
        self.base_lr = float(extra.get("base_lr", self.param_groups[0]["lr"]))
        if self.scheduler is not None:
            self.scheduler.load_state_dict(extra.get("schedule", {}))
