from __future__ import annotations

import hashlib

import torch

from steepest.tasks.digits import digits


def test_the_splits_are_fixed_for_all_time() -> None:
    splits = digits()
    assert [len(y) for _, y in splits] == [1098, 364, 335]
    contents = [(x * 16).to(torch.uint8).numpy().tobytes() + y.numpy().tobytes() for x, y in splits]
    assert [hashlib.blake2b(c, digest_size=6).hexdigest() for c in contents] == [
        "882c30ea026c",
        "93c33bdd8e35",
        "1e624fe7a04d",
    ]


def test_no_image_is_in_two_splits_and_none_is_lost() -> None:
    rows = [{tuple(r) for r in x.tolist()} for x, _ in digits()]
    assert sum(map(len, rows)) == len(set().union(*rows)) == 1797


def test_pixels_are_scaled_and_every_class_is_everywhere() -> None:
    for x, y in digits():
        assert x.shape == (len(y), 64) and x.dtype == torch.float32
        assert x.min() == 0 and x.max() == 1
        assert (torch.bincount(y, minlength=10) / len(y)).min() > 0.06
