"""Adam-mini against its authors' package and pytorch_optimizer, and where it is Adam."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from steepest import optim
from steepest.core.errors import HyperparameterError
from steepest.rules import AdamMini, adam_mini, adamw
from steepest.testing import Descent

torch.set_num_threads(1)

STEPS = 25
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
settings = pytest.mark.parametrize(
    "setting",
    [{}, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}],
    ids=["defaults", "set"],
)
LAYERS = [("mlp.weight", (3, 5), 1), ("embed.weight", (6, 4), 1), ("wq.weight", (6, 6), 2), ("mlp.bias", (5,), 1)]


def draw(shape: tuple[int, ...], seed: int = 0, n: int = STEPS) -> tuple[Tensor, Tensor]:
    numbers = torch.randn(n + 1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers[0], numbers[1:]


@pytest.mark.parametrize(("name", "shape", "block"), LAYERS, ids=[name for name, *_ in LAYERS])
@settings
@dtypes
def test_equals_the_authors(
    name: str, shape: tuple[int, ...], block: int, setting: dict[str, Any], dtype: torch.dtype
) -> None:
    """Their heads are rows of a 6 x 6 matrix in twos; biases are Adam's, and are spared of decay by name."""
    peer = pytest.importorskip("adam_mini")
    close = 2e-5 if dtype == torch.float32 else 1e-11
    start, grads = draw(shape)
    p = nn.Parameter(start.to(dtype, copy=True))
    theirs = peer.Adam_mini([(name, p)], **{"lr": 1e-3, **setting}, verbose=False, dim=6, n_heads=3)
    ours = {**setting, "weight_decay": 0.0} if "bias" in name else setting
    descent = Descent(adam_mini(**ours, block=block).build(), start.to(dtype))
    for g in grads.to(dtype):
        p.grad = g.clone()
        theirs.step()
        torch.testing.assert_close(descent.step(g), p.detach(), rtol=close, atol=close)


@pytest.mark.parametrize(("name", "shape", "block"), [("wq", (6, 6), 2), ("mlp", (3, 5), 3)])
@settings
def test_equals_pytorch_optimizer(name: str, shape: tuple[int, ...], block: int, setting: dict[str, Any]) -> None:
    """It follows the authors' first version, one size for a whole matrix but for queries and keys; in float32 only."""
    peer = pytest.importorskip("pytorch_optimizer")
    start, grads = draw(shape)
    model = nn.ModuleDict({name: nn.Linear(*shape[::-1], bias=False)})
    p = model[name].weight
    p.data.copy_(start)
    options = {"lr": 1e-3, "weight_decay": 0.0, **setting}
    theirs = peer.AdamMini(model, **options, num_embeds=6, num_heads=3)
    descent = Descent(adam_mini(**setting, block=block).build(), start.float())
    for g in grads.float():
        p.grad = g.clone()
        theirs.step()
        torch.testing.assert_close(descent.step(g), p.detach(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shape", [(), (5,), (5, 1), (4, 1, 1)], ids=str)
def test_it_is_adam_where_every_entry_is_a_block(shape: tuple[int, ...]) -> None:
    start, grads = draw(shape)
    one, other = Descent(adam_mini(0.1).build(), start), Descent(adamw(0.1, weight_decay=0.0).build(), start)
    for g in grads:
        assert torch.equal(one.step(g), other.step(g))


@given(seed=st.integers(0, 2**31), m=st.integers(1, 5), n=st.integers(1, 5))
def test_it_is_adam_where_gradients_of_a_row_have_one_size(seed: int, m: int, n: int) -> None:
    make = torch.Generator().manual_seed(seed)
    sizes = torch.rand(8, m, 1, generator=make, dtype=torch.float64) + 0.1
    signs = torch.randn(8, m, n, generator=make, dtype=torch.float64).sign()
    start = torch.zeros(m, n, dtype=torch.float64)
    one, other = Descent(adam_mini(0.1).build(), start), Descent(adamw(0.1, weight_decay=0.0).build(), start)
    for g in sizes * signs:
        torch.testing.assert_close(one.step(g), other.step(g), rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 2**31), block=st.sampled_from([1, 2, 3, 6]))
def test_a_block_moves_along_its_momentum(seed: int, block: int) -> None:
    start, grads = draw((6, 4), seed, 6)
    rule = AdamMini(block=block)
    s = rule.init(start)
    for t, g in enumerate(grads, start=1):
        u, s = rule.update(g, s, start, rule.scalars(t))
        for a, b in zip(u.split(block), s.m.split(block), strict=True):
            torch.testing.assert_close(a / a.norm(), b / b.norm(), rtol=1e-9, atol=1e-9)
    assert s.v.shape == (6 // block, 1)


def test_a_block_that_does_not_divide_the_rows_is_refused() -> None:
    p = nn.Parameter(torch.zeros(4, 2))
    opt = optim.AdamMini([p], block=3)
    p.grad = torch.ones(4, 2)
    with pytest.raises(HyperparameterError, match=r"block=3 does not divide the 4 rows .*\(4, 2\)"):
        opt.step()
