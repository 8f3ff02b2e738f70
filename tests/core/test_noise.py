"""Random numbers that are functions: normal, independent, and the same whenever they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from steepest.core.noise import BLOCK, mix, normal, normals

N = 300_000


def draw(*keys: int, n: int = N) -> torch.Tensor:
    return normal(torch.zeros(n, dtype=torch.float64), *keys)


@pytest.mark.parametrize("keys", [(0, 1, 0), (7, 1, 0), (0, 1_000_000, 3), (16_777_215, 2, 500)])
def test_they_are_normal(keys: tuple[int, ...]) -> None:
    z = draw(*keys)
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-4
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((z**power).mean()) - moment) < 4.5 * (spread / N) ** 0.5
    assert float(z.abs().max()) < 6.8


@pytest.mark.parametrize(
    ("a", "b"),
    [((0, 1, 0), (0, 2, 0)), ((0, 1, 0), (0, 1, 1)), ((0, 1, 0), (1, 1, 0)), ((0, 1, 2), (0, 2, 1)), ((1, 0), (0, 1))],
)
def test_other_keys_draw_independently(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = draw(*a), draw(*b)
    for f in (lambda z: z, torch.abs, torch.sign):
        assert abs(np.corrcoef(f(x).numpy(), f(y).numpy())[0, 1]) < 4.5 / N**0.5


@pytest.mark.parametrize("lag", [1, 2, N // 2, N // 2 - 1, BLOCK])
def test_entries_are_independent(lag: int) -> None:
    """Half of the entries are the sines that belong to the cosines of the other half."""
    z = draw(0, 1, 0)
    for f in (lambda z: z, torch.abs):
        x = f(z).numpy()
        assert abs(np.corrcoef(x[lag:], x[:-lag])[0, 1]) < 4.5 / (N - lag) ** 0.5


def test_every_bit_turns_half_of_the_others() -> None:
    x = torch.arange(20_000)
    for bit in range(32):
        turned = mix(x) ^ mix(x ^ (1 << bit))
        for other in range(32):
            assert 0.4 < float(((turned >> other) & 1).double().mean()) < 0.6


def test_the_same_keys_draw_the_same_whatever_the_form() -> None:
    z = draw(3, 4, n=1000)
    assert torch.equal(z, draw(3, 4, n=1000))
    assert torch.equal(z.reshape(10, 100), normal(torch.zeros(10, 100, dtype=torch.float64), 3, 4))
    assert torch.equal(z, normal(torch.zeros(1000, dtype=torch.float64), torch.tensor(3.0), torch.tensor(4)))
    torch.testing.assert_close(normal(torch.zeros(1000), 3, 4), z.float(), rtol=1e-5, atol=1e-5)
    assert normal(torch.zeros(1000, dtype=torch.bfloat16), 3, 4).dtype == torch.float32


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2 * BLOCK + 3,)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    z = normal(torch.zeros(shape), 1, 2)
    assert z.shape == shape
    assert z.isfinite().all()


def test_torchs_generator_is_not_touched() -> None:
    before = torch.get_rng_state()
    normal(torch.zeros(100), 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_stack_draws_what_its_tensors_draw(dtype: torch.dtype) -> None:
    places = torch.tensor([5.0, 0.0, 31.0], dtype=torch.float64)
    for shape in ((7,), (4, 6), (2 * BLOCK + 3,)):
        like = torch.zeros(3, *shape, dtype=dtype)
        for column, each in ((places, places.tolist()), (2, (2, 2, 2))):
            drawn = [normal(x, 9, 1, place) for x, place in zip(like, each, strict=True)]
            assert torch.equal(normals(like, 9, 1, column), torch.stack(drawn))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_words_and_torchs_whole_numbers_draw_the_same(dtype: torch.dtype) -> None:
    """Under vmap, and on other devices, the words are int64 tensors: the same numbers to the last bit."""
    places = torch.tensor([5.0, 0.0, 31.0])
    for n in (7, 2 * BLOCK + 3):
        like = torch.zeros(3, n, dtype=dtype)
        assert torch.equal(torch.vmap(lambda x, k: normal(x, 9, k))(like, places), normals(like, 9, places))
