"""Estimates of the Hessian's diagonal, and handing them to the rules that ask for one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steepest.core.kept import rewrite, settle, value_of
from steepest.core.layout import layout_of
from steepest.core.trace import flatten, rebuild

if TYPE_CHECKING:
    from steepest.core.optimizer import Optimizer


def signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Entries -1 or 1, each with probability 1/2.

    >>> set(signs(torch.zeros(100), torch.Generator().manual_seed(0)).tolist()) == {-1.0, 1.0}
    True
    """
    bits = torch.randint(2, like.shape, generator=generator, device=generator.device)
    return (2 * bits - 1).to(device=like.device, dtype=like.dtype)


def hutchinson(loss: Tensor, params: Sequence[Tensor], generator: torch.Generator) -> tuple[list[Tensor], list[Tensor]]:
    r"""Gradient, and an unbiased estimate of the Hessian's diagonal: :math:`z \odot Hz` with random signs :math:`z`.

    Costs one gradient of the gradient. Parameters that the loss does not depend on get zeros.
    Source: Bekas, Kokiopoulou and Saad 2007, eq. (1); arXiv:2305.14342, Algorithm 1; arXiv:2006.00719, eq. (5).

    >>> p = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> g, h = hutchinson((p**3).sum(), [p], torch.Generator())
    >>> g[0].tolist(), h[0].tolist()  # a diagonal Hessian is found exactly
    ([3.0, 12.0], [6.0, 12.0])
    """
    grads = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True, materialize_grads=True)
    z = [signs(p, generator) for p in params]
    curved = [(g, v) for g, v in zip(grads, z, strict=True) if g.requires_grad]
    if not curved:  # linear in the parameters
        return [g.detach() for g in grads], [torch.zeros_like(p) for p in params]
    products = torch.autograd.grad(
        [g for g, _ in curved], params, [v for _, v in curved], allow_unused=True, materialize_grads=True
    )
    return [g.detach() for g in grads], [v * hz for v, hz in zip(z, products, strict=True)]


def gauss_newton_bartlett(logits: Tensor, params: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    r"""An estimate of the Gauss-Newton matrix's diagonal for a classifier: :math:`B\, \hat g \odot \hat g`.

    :math:`\hat g` is the gradient of the mean cross-entropy of the ``B`` rows of ``logits`` (classes last) with labels
    drawn from the model's own probabilities. Never negative.
    Source: arXiv:2305.14342, Algorithm 2.
    """
    rows = logits.flatten(0, -2)
    with torch.no_grad():
        chances = rows.softmax(-1).to(generator.device)
        labels = torch.multinomial(chances, 1, generator=generator).squeeze(-1).to(rows.device)
    drawn = torch.nn.functional.cross_entropy(rows, labels)
    grads = torch.autograd.grad(drawn, params, retain_graph=True, allow_unused=True, materialize_grads=True)
    return [len(rows) * g * g for g in grads]


def backward(opt: Optimizer, loss: Tensor, logits: Tensor | None = None) -> None:
    """Fill ``.grad`` as ``loss.backward()`` does, and hand an estimate of the curvature to the rules that ask."""
    t, groups = opt.steps + 1, opt.param_groups if opt.curved else []
    asking = {p: name for group in groups if (name := opt.chain(group).curvature(t)) for p in group["params"]}
    asking = {p: name for p, name in asking.items() if p.requires_grad}
    if not asking:
        torch.autograd.backward(loss)
        return
    generator = torch.Generator().manual_seed(t)  # a function of the step, so that a resumed run draws the same
    found: dict[Tensor, Tensor] = {}
    drawn = [p for p, name in asking.items() if name == "gauss-newton-bartlett"]
    if drawn:
        if logits is None:
            raise TypeError(
                "this rule estimates the curvature from labels that it draws itself: give the model's class scores, "
                "optimizer.backward(loss, logits=logits), or use estimator='hutchinson'."
            )
        found.update(zip(drawn, gauss_newton_bartlett(logits, drawn, generator), strict=True))
    probed = [p for p, name in asking.items() if name == "hutchinson"]
    if probed:
        every = [p for group in opt.param_groups for p in group["params"] if p.requires_grad]
        order = [*probed, *(p for p in every if asking.get(p) != "hutchinson")]
        grads, products = hutchinson(loss, order, generator)
        for p, g in zip(order, grads, strict=True):
            p.grad = g if p.grad is None else p.grad + g
        found.update(zip(probed, products, strict=False))
    else:
        torch.autograd.backward(loss)
    hand_over(opt, found)


@torch.no_grad()
def hand_over(opt: Optimizer, estimates: Mapping[Tensor, Tensor]) -> None:
    """Let the rules take in estimates of the curvature, before the step they belong to."""
    opt._estimated = opt.steps + 1
    for group in opt.param_groups:
        chain = opt.chain(group)
        plan = layout_of(chain)
        for p in group["params"]:
            h = estimates.get(p)
            if h is None:
                continue
            if h.shape != p.shape:
                raise ValueError(f"an estimate has shape {tuple(h.shape)}, its parameter {tuple(p.shape)}.")
            if not bool(h.isfinite().all()):
                continue  # a bad batch must not spoil an average of many steps
            state = opt.state[p]
            fresh = chain.init(p.detach())
            settle(opt.precision, chain, plan, p.detach(), flatten(fresh), state)
            s = rebuild(fresh, [value_of(state, name) for name in plan.tensors])
            after = chain.absorb(h, s, p.detach(), int(state.get("step", 0)) + 1)
            for name, old, value in zip(plan.tensors, flatten(s), flatten(after), strict=True):
                if value is not old:
                    rewrite(state, name, value)


def remind(opt: Optimizer) -> None:
    """Warn, once, where a rule steps without the estimate that it asked for; done with where no rule ever asks."""
    if not opt.curved:
        opt._reminded = True
        return
    t = opt.steps + 1
    method = next((group["method"] for group in opt.param_groups if opt.chain(group).curvature(t)), None)
    if method is None or opt._estimated == t:
        return
    opt._reminded = True
    warnings.warn(
        f"step {t}: {method} divides by an estimate of the curvature, was to get one for this step and got none: "
        "loss.backward() makes only gradients. Call optimizer.backward(loss) in its place, before each step. This is "
        "said once.",
        RuntimeWarning,
        stacklevel=4,
    )
