"""Several losses, one call: a multi-task method in place of ``loss.backward()``."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steepest.core.errors import CheckpointError
from steepest.multitask.graph import Anatomy, anatomy, check
from steepest.multitask.method import LEVELS, Groups, Level, Method, MultiTaskError, Seen, drawing, enough
from steepest.multitask.preconditioned import diagonal
from steepest.multitask.products import Features, Gradients, Layers, Rows, Start, Trunk, means, once
from steepest.multitask.solvers import cosines
from steepest.multitask.state import restored, saved


class MultiTask:
    """Fills ``.grad`` from several losses, in the way of a method; any optimizer then takes the step.

    Args:
        model: The model, or None; its parameters are found from the losses all the same. One in
            ``DistributedDataParallel`` has its gradients averaged over the processes here.
        method: How the losses, or their gradients, become one direction.
        shared: The parameters whose gradients are compared: a module, or parameters; None: those that two losses or
            more depend on. The others, as the heads, get their plain gradients.
        level: How gradients are compared; None: as the method says. ``"gramian"``: exactly, without keeping the rows of
            linear layers; ``"jacobian"``: with a row for each task; ``"features"``: at what the tasks share last.
        chunk: How many tasks go backward at once, by ``vmap``; 1 works with everything autograd does.
        seed: Of the methods that draw.
        optimizer: What takes the steps, for methods that compare gradients as it will scale them.

    After :meth:`backward`, ``weights`` holds what each loss (or gradient) was weighed with and ``metrics`` that and the
    share of pairs that conflict; ``affinity`` the cosines between the gradients.

    >>> from steepest.multitask import UPGrad
    >>> _ = torch.manual_seed(0)
    >>> trunk, a, b = nn.Linear(4, 8), nn.Linear(8, 1), nn.Linear(8, 1)
    >>> tasks, h = MultiTask(trunk, UPGrad()), trunk(torch.ones(2, 4)).relu()
    >>> tasks.backward({"a": a(h).mean(), "b": -2 * b(h).mean()})
    >>> trunk.weight.grad.shape, b.bias.grad
    (torch.Size([8, 4]), tensor([-2.]))
    """

    def __init__(
        self,
        model: nn.Module | None,
        method: Method,
        *,
        shared: nn.Module | Iterable[Tensor] | None = None,
        level: Level | None = None,
        chunk: int = 1,
        seed: int = 0,
        optimizer: Any = None,
    ) -> None:
        if not isinstance(method, Method):
            raise MultiTaskError(f"method is one of steepest.multitask, such as UPGrad(); got {method!r}.")
        if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
            raise MultiTaskError(f"chunk is a whole number of tasks >= 1; got {chunk!r}.")
        if level is not None and level not in LEVELS:
            raise MultiTaskError(f"level is one of {', '.join(LEVELS)}; got {level!r}.")
        if method.needs == "jacobian" and level in ("gramian", "features"):
            raise MultiTaskError(f"{type(method).__name__} takes the gradients apart; it needs level='jacobian'.")
        self.method, self.chunk, self.seed = method, chunk, seed
        self.group = model.process_group if isinstance(model, nn.parallel.DistributedDataParallel) else None
        self.params = [] if model is None else list(model.parameters())
        self.shared = list(shared.parameters()) if isinstance(shared, nn.Module) else shared and list(shared)
        usual: Level = "jacobian" if method.needs == "jacobian" else getattr(method, "level", "gramian")
        self.level: Level = level or usual
        self.optimizer = optimizer
        self.names: tuple[str, ...] = ()
        self.t = 0
        self.state: Any = None
        self.weights: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.gramian: Tensor | None = None
        self.pending = 0
        """Calls of :meth:`backward` that no step has used yet."""
        self._before: Tensor | None = None
        self._unheard = 0

    # -- the step -----------------------------------------------------------------------------------------------------

    def backward(
        self, losses: Mapping[str, Tensor], *, other: Mapping[str, Tensor] | None = None, scaler: Any = None
    ) -> None:
        """In place of ``loss.backward()``: adds to ``.grad``, as that does.

        Args:
            losses: By name, each a scalar with its graph; the same names at every step.
            other: The losses of a second batch, for methods whose estimate wants two (SDMGrad, MoDo).
            scaler: A ``GradScaler``: losses are scaled by it on the way, and compared unscaled. Hand over the losses
                themselves.
        """
        check(losses)
        losses = self._named(losses)
        values = check(losses)
        self._known(losses)
        scale = _scale(scaler, values[0])
        mean, world = self._processes()
        w: Tensor | None
        L = torch.stack([loss.detach().double().reshape(()) for loss in values])
        L = L if mean is None else mean(L)
        self.t += 1
        groups = self.method.together(len(self.names), self.state, self.t)
        seen = Seen(L, t=self.t, draw=drawing(self.seed, self.t), groups=groups)
        try:
            if self.method.needs == "losses":
                w, self.state = self.method.weigh(seen, self.state)
                torch.autograd.backward(
                    values, [(scale * wi).to(x).view_as(x) for wi, x in zip(w, values, strict=True)]
                )
                G = None
            else:
                w, G = self._compared(losses, values, seen, other, scale, mean, world)
        except RuntimeError as error:
            if "second time" not in str(error) and "been freed" not in str(error):
                raise
            raise MultiTaskError(
                "these losses have been through backward() already, and a method applied after that would change "
                "nothing. Hand the losses to MultiTask.backward in place of calling backward() on them."
            ) from error
        self._note(L, w, G, groups)
        self._before, self.pending = L, self.pending + 1
        self._unheard += 1
        if self.method.looks_back and self._unheard == 3:
            warnings.warn(
                f"{type(self.method).__name__} learns from the losses of the same batch after the step, and has "
                "not heard any. Call tasks.after({...}) with them after optimizer.step().",
                RuntimeWarning,
                stacklevel=2,
            )

    def _compared(
        self,
        losses: Mapping[str, Tensor],
        values: list[Tensor],
        seen: Seen,
        other: Mapping[str, Tensor] | None,
        scale: float,
        mean: Callable[[Tensor], Tensor] | None,
        world: int,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Heads first, then what is shared; the weights, if there are such, and the Gramian."""
        groups = seen.groups
        whole, trunk = self._trunk(losses, values, scale, mean, groups)
        grads: Gradients
        if self.level == "features":
            grads = Features(trunk, mean, world)
        elif self.level == "jacobian":
            grads = Rows(trunk, mean)
        else:
            grads = Layers(trunk, mean)
        G = grads.gramian() / scale**2
        direction, w = None, None
        with torch.no_grad():
            if isinstance(grads, Rows) and self.method.needs == "jacobian":
                rows = grads.matrix() if scale == 1 else grads.matrix() / scale
                known = dataclasses.replace(seen, gramian=G, rows=rows, precision=grads.precision)
                d, self.state = self.method.combine(known, self.state)
                direction = grads.split(d * scale)
            else:
                products = self._metric(grads, scale) if self.method.preconditioned else G
                products = products if other is None else self._crossed(grads, other, mean, groups) / scale
                known = dataclasses.replace(seen, gramian=products, precision=grads.precision)
                w, self.state = self.method.weigh(known, self.state)
                direction = grads.weighted(w)
            for p, g in direction:
                _add(p, g)
            if whole.anatomy.rest:
                for p, g in whole.plain(whole.anatomy.rest, None, keep=False):
                    _add(p, g if mean is None else mean(g))
        return w, G

    def _metric(self, grads: Gradients, scale: float) -> Tensor:
        """The products of gradients as the optimizer will scale them."""
        if not isinstance(grads, Rows):
            raise MultiTaskError("entries are scaled in the rows of gradients; use level='jacobian'.")
        if self.optimizer is None:
            raise MultiTaskError(
                f"{self.method} compares gradients as the optimizer will scale them. Hand it over: MultiTask(..., "
                "optimizer=optimizer)."
            )
        return grads.gramian(diagonal(self.optimizer)) / scale**2

    def _trunk(
        self,
        losses: Mapping[str, Tensor],
        values: list[Tensor],
        scale: float,
        mean: Any,
        groups: Groups | None = None,
        heads: bool = True,
    ) -> tuple[Trunk, Trunk]:
        """The shared part with a gradient for each task; the same with one for each group, where there are groups."""
        found: Anatomy = anatomy(losses, self.shared)
        found.shared.sort(key=self._order())
        if not found.shared:
            what = "depend on no parameter together" if self.shared is None else "share none of the parameters given"
            raise MultiTaskError(
                f"the losses {', '.join(losses)} {what}, so there are no gradients to compare. Give each its own "
                "backward(), or weigh the losses."
            )
        incoming: list[list[Tensor | None]] = []
        roots: list[list[Start]] = []
        again = any(found.nested)  # then the losses are where the gradients of what is shared begin
        for i, loss in enumerate(values):
            own = found.own[i] if heads else []
            targets: list[Any] = [*(found.cut[k] for k in found.crossed[i]), *own]
            root = torch.full_like(loss, scale)
            keep = again or any(edge.node is loss.grad_fn for edge in found.cut)
            grads = once(targets, [(loss, root)], keep)
            row: list[Tensor | None] = [None] * len(found.cut)
            for k, g in zip(found.crossed[i], grads, strict=False):
                row[k] = g
            incoming.append(row)
            roots.append([(loss, root)] if found.nested[i] else [])
            for p, g in zip(own, grads[len(found.crossed[i]) :], strict=True):
                if g is not None:
                    _add(p, g if mean is None else mean(g))
        whole = Trunk(found, incoming, roots, self.chunk)
        if groups is None:
            return whole, whole
        begun: list[list[Start]] = [
            [(values[i], torch.full_like(values[i], scale / len(group))) for i in group]
            if any(found.nested[i] for i in group)
            else []
            for group in groups
        ]
        return whole, Trunk(found, means(incoming, groups), begun, self.chunk)

    def _order(self) -> Callable[[Tensor], int]:
        """The place of a parameter: the model's, where there is a model, else as the graph has it."""
        place = {id(p): i for i, p in enumerate(self.params)}
        return lambda p: place.get(id(p), len(place))

    def _crossed(self, grads: Gradients, other: Mapping[str, Tensor], mean: Any, groups: Groups | None) -> Tensor:
        """The products of this batch's gradients with those of another, which share no noise."""
        if not isinstance(grads, Rows):
            raise MultiTaskError("two batches are compared by their rows; use MultiTask(..., level='jacobian').")
        second = {name: other[name] for name in self.names}
        rows = Rows(self._trunk(second, check(second), 1.0, mean, groups, heads=False)[1], mean)
        return grads.matrix().double() @ rows.matrix().double().mT

    @property
    def listens(self) -> bool:
        """Whether it wants to hear the losses of the same batch after the step."""
        return self.method.looks_back

    def after(self, losses: Mapping[str, Tensor]) -> None:
        """Hear the losses of the same batch after the step, for methods that learn from it (``looks_back``)."""
        if not self.method.looks_back:
            return
        if self._before is None:
            raise MultiTaskError("after() follows backward() and the optimizer's step.")
        losses = self._named(losses)
        values = torch.stack([losses[name].detach().double().reshape(()) for name in self.names])
        mean, _ = self._processes()
        self.state = self.method.hear(self._before, values if mean is None else mean(values), self.state)
        self._before, self._unheard = None, 0

    def _named(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.names and set(losses) != set(self.names):
            raise MultiTaskError(
                f"the tasks are {', '.join(self.names)}; this step has {', '.join(losses) or 'none'}. A method "
                "compares the same tasks at every step."
            )
        return {name: losses[name] for name in (self.names or losses)}

    def _known(self, losses: Mapping[str, Tensor]) -> None:
        if not self.names:
            enough(self.method, len(losses))
            self.names = tuple(losses)
        if self.state is None:
            self.state = self.method.start(len(self.names))

    def _note(self, L: Tensor, w: Tensor | None, G: Tensor | None, groups: Groups | None) -> None:
        if groups is None:
            self.gramian = G
        elif w is not None:
            of_groups, w = w, torch.zeros_like(L)
            for wk, group in zip(of_groups, groups, strict=True):
                w[list(group)] = (wk / len(group)).to(w)
        self.weights = {} if w is None else dict(zip(self.names, w.tolist(), strict=True))
        self.metrics = {f"loss_{name}": value for name, value in zip(self.names, L.tolist(), strict=True)}
        self.metrics |= {f"weight_{name}": value for name, value in self.weights.items()}
        if groups is not None:
            self.metrics["groups"] = float(len(groups))
        if G is not None and len(G) > 1:
            above = torch.triu_indices(len(G), len(G), 1)
            self.metrics["conflicts"] = float((G[above[0], above[1]] < 0).double().mean())

    def _processes(self) -> tuple[Callable[[Tensor], Tensor] | None, int]:
        """How to average over processes, where the model is in several."""
        group = self.group
        if group is None:
            return None, 1
        import torch.distributed as dist

        world = dist.get_world_size(group)

        def mean(x: Tensor) -> Tensor:
            x = x.contiguous()
            dist.all_reduce(x, group=group)
            return x / world

        return mean, world

    @property
    def affinity(self) -> Tensor:
        """The cosines between the tasks' gradients, when all were last compared, in the order of ``names``."""
        if self.gramian is None:
            raise MultiTaskError(
                f"{self.method} compared no gradients. Cosines are known after backward() with a method that does, "
                "such as UPGrad()."
            )
        return cosines(self.gramian)[1]

    def __repr__(self) -> str:
        return repr(self.method)

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What the method remembers, as plain data and tensors."""
        return {
            "method": repr(self.method),
            "tasks": list(self.names),
            "t": self.t,
            "seed": self.seed,
            "state": saved(self.state),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        if state["method"] != repr(self.method):
            raise CheckpointError(f"the checkpoint is of {state['method']}; this is {self.method!r}.")
        if self.names and list(self.names) != list(state["tasks"]):
            raise CheckpointError(f"the checkpoint has the tasks {', '.join(state['tasks'])}; here are {self.names}.")
        self.names, self.t, self.seed = tuple(state["tasks"]), int(state["t"]), int(state.get("seed", self.seed))
        self.state = None if not self.names else restored(self.method.start(len(self.names)), state["state"])
        self._before, self._unheard, self.pending = None, 0, 0


def _add(p: Tensor, g: Tensor) -> None:
    g = g.detach().to(p.dtype)
    if p.grad is None:
        p.grad = g.clone() if g._base is not None or not g.is_contiguous() else g
    else:
        p.grad.add_(g)


def _scale(scaler: Any, like: Tensor) -> float:
    if scaler is None or not scaler.is_enabled():
        return 1.0
    scaler.scale(torch.zeros((), device=like.device))  # it makes its scale when it is first used
    return float(scaler.get_scale())
