"""A convolutional autoencoder: patches of photographs through a narrow place and back."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from steepest.tasks.photos import photos
from steepest.tasks.registry import builtin
from steepest.tasks.task import Task


def autoencoder() -> nn.Module:
    """Channels 3-16-32-8 down to 4 x 4, and back: 128 numbers stand for 768; 10 699 parameters, He's initialisation."""
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 8, 1),
        nn.Conv2d(8, 32, 1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(32, 16, 3, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(16, 3, 3, padding=1),
    )
    for name, p in model.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(p, nonlinearity="relu")
        else:
            nn.init.zeros_(p)
    return model


def reconstruction(output: Tensor, batch: Any) -> Tensor:
    """Mean squared error of the pixels, which lie in [0, 1]."""
    loss: Tensor = (output - batch[0]).square().mean()
    return loss


def psnr(output: Tensor, batch: Any) -> Tensor:
    """Peak signal-to-noise ratio of a patch in decibels, -10 log10 of its squared error; the mean over patches."""
    each: Tensor = (output - batch[0]).square().flatten(1).mean(1)
    return -10 * each.log10().mean()


@builtin("photo-autoencoder")
def photo_autoencoder() -> Task:
    """Patches of two photographs, 16 x 16, through a convolutional autoencoder that keeps one number in six.

    Reason: convolutions and a regression loss without normalisation or labels, through a narrow place.
    Source: Masci et al. 2011, doi:10.1007/978-3-642-21735-7_7; photographs as shipped with scikit-learn.
    """
    return Task(
        name="photo-autoencoder",
        model=autoencoder,
        loss=reconstruction,
        metrics={"psnr": psnr},
        batch_size=32,
        steps=300,
        eval_every=15,
        description="Photo patches 16 x 16, convolutional autoencoder with 128 numbers in the middle",
        **photos(),
    )
