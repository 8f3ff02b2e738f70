"""Patches of the two photographs in scikit-learn, a temple in China and a flower: 16 x 16 pixels, three colours."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import torch
from torch import Tensor

from steepest.tasks.registry import guest
from steepest.tasks.splits import split_of

SIZE, TILE = 16, 4
PHOTOS = ("china", "flower")
SOURCE = "china.jpg and flower.jpg (danielbuechele and vultilion on Flickr, CC BY 2.0), as shipped with scikit-learn"


def patches(photo: Tensor) -> Tensor:
    """The patches (rows, columns, 3, 16, 16) of a photograph (height, width, 3), side by side; a margin is left out."""
    return photo.unfold(0, SIZE, SIZE).unfold(1, SIZE, SIZE)


@functools.cache
def photos() -> dict[str, Any]:
    """The splits, values in [0, 1], and a hash of the pixels, which decoders of JPEG agree on nearly but not always.

    Tiles of 4 x 4 patches go to one split by the hash of ``photo/<name>/<row>/<column>``, so that most patches have
    their neighbours in the same split.
    """
    with guest("scikit-learn and pillow", extra="tasks"):
        from sklearn.datasets import load_sample_image

        images = {name: load_sample_image(f"{name}.jpg") for name in PHOTOS}  # this is where it asks for pillow
    found: dict[str, list[Tensor]] = {"train": [], "validation": [], "test": []}
    digest = hashlib.blake2b(digest_size=8)
    for name, image in images.items():
        pixels = torch.tensor(image)
        digest.update(pixels.numpy().tobytes())
        grid = patches(pixels.to(torch.float32) / 255)
        for row in range(grid.shape[0]):
            for column in range(grid.shape[1]):
                found[split_of(f"photo/{name}/{row // TILE}/{column // TILE}")].append(grid[row, column])
    return {
        **{split: (torch.stack(parts),) for split, parts in found.items()},
        "source": SOURCE,
        "facts": {"pixels": digest.hexdigest()},
    }
