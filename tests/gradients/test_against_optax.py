"""What optax has too, step by step. It keeps units last where torch keeps them first, so its tensors are turned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from steepest.strategy import parse

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

SHAPES = [(4, 3), (5,), (4, 3, 2, 2)]


def turned(x: Tensor) -> Any:
    return jax.numpy.asarray(np.moveaxis(x.detach().numpy(), 0, -1))


CASES: dict[str, tuple[str, Any]] = {
    "agc": ("agc(0.05)", lambda: optax.adaptive_grad_clip(0.05)),
    "agc, large eps": ("agc(0.5, agc_eps=2.0)", lambda: optax.adaptive_grad_clip(0.5, eps=2.0)),
    "block rms": ("clip_rms(0.3)", lambda: optax.clip_by_block_rms(0.3)),
    "global norm": ("clip_norm(0.7)", lambda: optax.clip_by_global_norm(0.7)),
    "value": ("clip_value(0.2)", lambda: optax.clip(0.2)),
    "agc, then rms": (
        "agc(0.5) | clip_rms(0.1)",
        lambda: optax.chain(optax.adaptive_grad_clip(0.5), optax.clip_by_block_rms(0.1)),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_with_adam(case: str, dtype: torch.dtype, gradients: Any) -> None:
    text, theirs = CASES[case]
    torch.manual_seed(0)
    params = [nn.Parameter(torch.randn(s, dtype=dtype)) for s in SHAPES]
    ours = parse(f"adam(lr=0.1) | {text}").optimizer(params)
    peer = optax.chain(theirs(), optax.adam(0.1))
    values = [turned(p) for p in params]
    state = peer.init(values)

    @jax.jit
    def taken(grads: Any, state: Any, values: Any) -> Any:
        updates, state = peer.update(grads, state, values)
        return optax.apply_updates(values, updates), state

    for step in gradients(SHAPES, 25):
        step = [g.to(dtype) for g in step]
        for p, g in zip(params, step, strict=True):
            p.grad = g.clone()
        ours.step()
        values, state = taken([turned(g) for g in step], state, values)
    # the bound of our norm clipping is a millionth higher (as torch's), which Adam's ratio hides but for its eps
    tolerance = 1e-5 if dtype == torch.float32 or case == "global norm" else 1e-10
    for p, v in zip(params, values, strict=True):
        np.testing.assert_allclose(turned(p), v, rtol=tolerance, atol=tolerance)


def test_centralize(gradients: Any) -> None:
    """optax takes the mean over all dimensions but the first, as torch's layout wants it: nothing to turn."""
    (step,) = gradients([(4, 3), (5,), (4, 3, 2, 2)], 1)
    params = [nn.Parameter(torch.zeros_like(g)) for g in step]
    opt = parse("sgd(lr=1.0) | centralize()").optimizer(params)
    for p, g in zip(params, step, strict=True):
        p.grad = g.clone()
    opt.step()
    grads = [jax.numpy.asarray(g.numpy()) for g in step]
    peer = optax.centralize() if hasattr(optax, "centralize") else optax.transforms.centralize()
    want, _ = peer.update(grads, peer.init(grads))
    for p, w in zip(params, want, strict=True):
        np.testing.assert_allclose(-p.detach().numpy(), w, rtol=1e-12, atol=1e-14)


def test_noise_has_the_same_spread_at_every_step() -> None:
    n = 50_000
    p = nn.Parameter(torch.zeros(n, dtype=torch.float64))
    opt = parse("sgd(lr=1.0) | gradient_noise(eta=0.3, gamma=0.55)").optimizer([p])
    peer = optax.add_noise(0.3, 0.55, key=0)
    zeros = jax.numpy.zeros(n)
    state = peer.init(zeros)
    for _ in range(5):
        p.data.zero_()
        p.grad = torch.zeros_like(p)
        opt.step()
        noise, state = peer.update(zeros, state)
        assert float(p.detach().std()) == pytest.approx(float(noise.std()), rel=4.5 / n**0.5)


@pytest.mark.parametrize("size", [0.1, 0.99, 1.01, 30.0, float("nan")])
def test_skipping(size: float) -> None:
    p = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    opt = parse("nonfinite('pass') | sgd(lr=1.0) | skip_large(2.0)").optimizer([p])
    p.grad = torch.full((4,), size, dtype=torch.float64)
    skip, _ = optax.skip_large_updates([jax.numpy.full(4, size)], 0, None, max_squared_norm=4.0)
    if bool(skip):
        with pytest.warns(RuntimeWarning, match="skipped"):
            opt.step()
    else:
        opt.step()
    assert opt.skipped_steps == int(skip)
