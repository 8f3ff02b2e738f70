from __future__ import annotations

import math
import sys

import pytest
import torch
from sklearn.datasets import load_sample_image
from sklearn.metrics import mean_squared_error

from steepest import tasks
from steepest.tasks.photos import patches, photos
from steepest.tasks.splits import split_of
from steepest.tasks.task import TaskError


def test_patches_lie_side_by_side() -> None:
    photo = torch.arange(40 * 50 * 3).reshape(40, 50, 3)
    found = patches(photo)
    assert found.shape == (2, 3, 3, 16, 16)
    assert torch.equal(found[1, 2], photo[16:32, 32:48].permute(2, 0, 1))


def test_tiles_go_to_one_split_and_no_pixel_is_lost() -> None:
    task = tasks.load("photo-autoencoder")
    photo = torch.tensor(load_sample_image("flower.jpg")) / 255
    sizes = {split: len(getattr(task, split)[0]) for split in task.splits}
    assert sum(sizes.values()) == 2 * (427 // 16) * (640 // 16)
    for row, column in ((0, 0), (7, 13), (25, 39)):
        split = split_of(f"photo/flower/{row // 4}/{column // 4}")
        wanted = photo[16 * row : 16 * row + 16, 16 * column : 16 * column + 16].permute(2, 0, 1)
        assert (getattr(task, split)[0] == wanted).flatten(1).all(1).any()


def test_the_measures_by_hand() -> None:
    task = tasks.load("photo-autoencoder")
    model = task.build(0)
    (x,) = task.validation
    with torch.no_grad():
        out = model(x)
    found = task.evaluate(model)
    each = [mean_squared_error(a.flatten(), b.flatten()) for a, b in zip(x, out, strict=True)]
    assert found["loss"] == pytest.approx(sum(each) / len(each), rel=1e-5)
    assert found["psnr"] == pytest.approx(sum(10 * math.log10(1 / e) for e in each) / len(each), rel=1e-5)


def test_the_middle_is_narrow() -> None:
    model = tasks.load("photo-autoencoder").build(0)
    assert model[:5](torch.zeros(2, 3, 16, 16)).shape == (2, 8, 4, 4)
    assert len(tasks.load("photo-autoencoder").facts["pixels"]) == 16


def test_a_run_starts_with_the_second_moments_of_image_and_output() -> None:
    """The last weights are symmetric about 0, so that image and output do not correlate on average over seeds."""
    task = tasks.load("photo-autoencoder")
    x = task.train[0][:200]
    gaps = []
    for seed in range(30):
        with torch.no_grad():
            out = task.build(seed)(x)
        gaps.append((out - x).square().mean() - out.square().mean() - x.square().mean())
    gap = torch.stack(gaps)
    assert abs(gap.mean()) < 4 * gap.std() / 30**0.5
    assert gap.std() > 0.05, "the cross term of a single seed is not small"


def test_without_pillow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(TaskError, match=r"needs scikit-learn and pillow.*pip install 'steepest\[tasks\]'"):
        photos.__wrapped__()
